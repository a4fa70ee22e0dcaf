"""Training: a recipe's stages, the loop that runs them, and what the loop leans on.

Begin with `loop`; `recipe` says what is trained on what. `optimizer` sets the learning rates, `sampler` decides which
samples share a batch, `checkpoint` lets a killed run go on bit for bit, `progress` shows it live, `journal` records it.
"""
