"""The engine that asks another program: any endpoint that speaks OpenAI's API."""
