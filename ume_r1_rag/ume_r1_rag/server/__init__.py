"""The server: an encoder, and an index if there is one, over HTTP in OpenAI's shape."""

from ume_r1_rag.server.app import create_app
from ume_r1_rag.server.header_time import bounded_protocol
from ume_r1_rag.server.limits import ServerLimits

__all__ = ["ServerLimits", "bounded_protocol", "create_app"]
