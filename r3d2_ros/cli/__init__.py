"""The command line `r3d2`: one module per command, each with `add_parser(subparsers)` and `run(args) -> int`."""
