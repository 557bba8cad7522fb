"""Policy server and client over websocket and msgpack."""
