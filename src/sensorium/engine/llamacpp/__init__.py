"""The fast engine on processors: exported models in llama.cpp. `engine.LlamaCppEngine` is what others use."""
