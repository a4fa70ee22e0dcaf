"""The scene builder: cut-outs on backgrounds, with exact names, counts, colours, positions and boxes."""
