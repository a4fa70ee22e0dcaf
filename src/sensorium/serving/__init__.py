"""A model as a service: an HTTP API that clients of OpenAI's speak."""

from sensorium.serving.app import create_app
from sensorium.serving.server import create_server
from sensorium.serving.settings import ServerSettings

__all__ = ["ServerSettings", "create_app", "create_server"]
