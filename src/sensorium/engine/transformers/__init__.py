"""The engine that runs whatever image-text-to-text model transformers loads."""
