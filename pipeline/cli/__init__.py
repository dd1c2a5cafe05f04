"""The command line, `mnist-tfx`: commands parse arguments and delegate."""
