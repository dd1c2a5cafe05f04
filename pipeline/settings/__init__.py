"""Configuration files: reading TOML, the pipeline's configuration, errors and exit codes."""
