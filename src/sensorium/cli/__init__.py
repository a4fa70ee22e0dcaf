"""The command line, the roof of the house: one file a command, each a thin layer over what a library call does.

`main` puts them together. Whatever is heavy is imported inside the commands, so that `--help` and mistakes are instant.
"""
