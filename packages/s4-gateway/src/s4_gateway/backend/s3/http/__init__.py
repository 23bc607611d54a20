"""An HTTP/1.1 client that changes nothing and decides nothing: request heads go out byte for byte, answers come back as they are.

It follows no redirect, keeps no cookie, decompresses nothing, adds no header and repeats no request.

Pool            connections to one endpoint: borrowed for one exchange, kept while both sides want to
Connection      one exchange at a time: head and payload out, answer in
Answer          status, headers, and a body that is read piece by piece or is there already
"""

from s4_gateway.backend.s3.http.answer import Answer
from s4_gateway.backend.s3.http.connection import Connection
from s4_gateway.backend.s3.http.head import AnswerHead, parse_answer_head, render_request_head
from s4_gateway.backend.s3.http.pool import Pool

__all__ = ["Answer", "AnswerHead", "Connection", "Pool", "parse_answer_head", "render_request_head"]
