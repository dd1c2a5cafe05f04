"""The embedded model server: TF Serving's gRPC and REST protocols in one Python process.

`python -m serving.server --model_name mnist --model_base_path DIR --port 8500`

| part | contents |
|---|---|
| `flags`, `config_files` | TF Serving's flags and configuration files |
| `lifecycle` | starts and stops everything |
| `grpc/`, `rest/` | the two protocols |
| `request_handler` | what both protocols share; the table of status codes |
| `inference`, `tensors` | the meaning of a request on one version of a model |
| `scheduling/` | when a request runs: one by one, in batches, in slices |
| `models/` | models and versions, from their configuration to loading and unloading |
| `metrics` | Prometheus metrics |
"""
