"""`python -m pipeline.cli`: the same as the console script `mnist-tfx`."""

from pipeline.cli.entry_point import main

if __name__ == "__main__":
    main()
