"""A perfect S3 in memory: what the S3 API reference says a service answers, request by request.

It knows nothing of compression, caches or records, and is written from the API reference, RFC 9110 and docs/reference/s3.md, not from the
gateway's code. Where S3 leaves a choice, the choice is taken from the gateway's own answer (upload ids) or is not compared (tokens).
Where the gateway is documented to differ from Amazon S3, so does this model:

- the copy of an object uploaded in parts keeps ETag, checksums and parts of its source;
- GetObjectAttributes lists the parts of every object uploaded in parts;
- names of the storage layer do not exist for readers and are refused to writers.
"""

from urllib.parse import unquote

from .listings import create_bucket, delete_bucket, head_bucket, list_objects
from .reads import attributes, read
from .uploads import Rules, abort, complete, copy_part, create, list_parts, list_uploads, put_part
from .values import Refusal, Reply, Request, State, is_reserved
from .writes import copy, delete, delete_many, put

SIMPLE = {
    ("PUT", "bucket", ""): create_bucket,
    ("DELETE", "bucket", ""): delete_bucket,
    ("HEAD", "bucket", ""): head_bucket,
    ("GET", "bucket", ""): list_objects,
    ("GET", "bucket", "uploads"): list_uploads,
    ("POST", "bucket", "delete"): delete_many,
    ("GET", "object", ""): read,
    ("HEAD", "object", ""): read,
    ("GET", "object", "attributes"): attributes,
    ("PUT", "object", ""): put,
    ("DELETE", "object", ""): delete,
    ("PUT", "object", "uploadId"): put_part,
    ("PUT", "object", "uploadId copy"): copy_part,
    ("GET", "object", "uploadId"): list_parts,
    ("DELETE", "object", "uploadId"): abort,
}
SUBRESOURCES = ("uploads", "uploadId", "delete", "attributes")


class PerfectS3:
    """Answers requests; `state` may be looked at, copied and set."""

    def __init__(self, rules: Rules, *, now: int) -> None:
        self.rules = rules
        self.state = State(now)

    def answer(self, request: Request, *, upload_id: str = "") -> Reply:
        """What S3 answers now; `upload_id` is the id for a new upload."""
        try:
            return self._answer(request, upload_id)
        except Refusal as refusal:
            return refusal.reply(head=request.method == "HEAD")

    def _answer(self, request: Request, upload_id: str) -> Reply:
        source = request.headers.get("x-amz-copy-source")
        if is_reserved(request.key):
            raise Refusal("NoSuchKey" if request.method in ("GET", "HEAD") else "InvalidObjectName")
        if source is not None and is_reserved(unquote(source).removeprefix("/").partition("/")[2]):
            raise Refusal("NoSuchKey")
        sub = " ".join([*(name for name in SUBRESOURCES if name in request.query), *(["copy"] if source is not None else [])])
        if request.method == "POST" and request.key:
            if sub == "uploads":
                return create(self.state, request, upload_id=upload_id)
            return complete(self.state, request, self.rules)
        if sub == "copy":
            return copy(self.state, request, anew=self.rules.copies_anew)
        return SIMPLE[request.method, "object" if request.key else "bucket", sub](self.state, request)
