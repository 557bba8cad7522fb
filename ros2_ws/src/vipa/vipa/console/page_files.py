"""The files of the web page, by the path that a browser asks for. Nothing else is served."""

from pathlib import Path

FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def read_page_files() -> dict[str, tuple[str, bytes]]:
    """Content type and content of every file by its path; ``/`` is the page itself."""
    files = {f"/{path.name}": (_TYPES[path.suffix], path.read_bytes()) for path in FOLDER.iterdir()}
    return {"/": files["/index.html"], **files}
