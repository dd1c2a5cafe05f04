"""The embedded model server: TF Serving's gRPC and REST protocols, in one Python process.

`python -m serving.server --model_name mnist --model_base_path DIR --port 8500`

| module | is |
|---|---|
| flags | TF Serving's flags |
| text_protos | its configuration files, in protobuf's text format |
| model_config | which models, which versions of them, which labels |
| saved_model | one version: a SavedModel in a session |
| warm_up | runs a version's recorded requests before it is served |
| versions | one model: its versions, from folder to END |
| models | all models; what a request's ModelSpec means |
| inference | Predict, Classify, ... on one version, without gRPC or HTTP |
| scheduling | runs requests one by one |
| batching | runs requests together |
| requests | what gRPC and REST have in common, and the table of status codes |
| grpc_services, service_descriptors | the gRPC services, and what reflection shows of them |
| rest | the same over HTTP |
| rest_json, json_values | TF Serving's JSON documents, and the values in them |
| metrics | what Prometheus reads |
| lifecycle | starts and stops all of it |
"""
