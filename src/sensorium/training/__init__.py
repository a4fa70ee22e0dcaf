"""Training: a recipe's stages, the loop that runs them, and what the loop leans on.

Begin with `loop`; `recipe` says what is trained on what. `samples` numbers the conversations, `measure` finds out how
long each is, `packing` decides which share a pack, `parallel` shares the model among processes, `state` and
`checkpoint` let a killed run go on bit for bit, `progress` shows it live, `journal` records it.
"""
