"""The model: vision encoder -> connector -> language model, the views of a picture, and their fusion."""
