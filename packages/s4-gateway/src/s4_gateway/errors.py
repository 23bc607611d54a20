"""S3 errors as one table: code -> status and default message.

GatewayError            what this package raises on purpose
|- S3Error              becomes an S3 error document
|- NotModified          304 of a conditional read: headers, no document
|- ClientDisconnected   the peer went away; nobody is left to answer
`- SettingsError        contradictory or missing settings; refused at start
"""

from collections.abc import Mapping
from http import HTTPStatus

ERRORS: Mapping[str, tuple[int, str]] = {
    "AccessDenied": (403, "Access Denied"),
    "AuthorizationHeaderMalformed": (400, "The authorization header that you provided is not valid."),
    "AuthorizationQueryParametersError": (400, "The authorization query parameters that you provided are not valid."),
    "BadDigest": (400, "The checksum that you specified did not match what was received."),
    "BucketAlreadyExists": (409, "The requested bucket name is not available."),
    "BucketAlreadyOwnedByYou": (409, "The bucket that you tried to create already exists, and you own it."),
    "BucketNotEmpty": (409, "The bucket that you tried to delete is not empty."),
    "ConditionalRequestConflict": (409, "A conflicting operation occurred during the request; try again."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed size."),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size."),
    "ExpiredToken": (400, "The provided token has expired."),
    "IllegalLocationConstraintException": (400, "The location constraint does not fit the region of the endpoint."),
    "IncompleteBody": (400, "The request body ended before the number of bytes given by Content-Length."),
    "InternalError": (500, "An internal error occurred. Try again."),
    "InvalidAccessKeyId": (403, "The access key id that you provided does not exist in our records."),
    "InvalidArgument": (400, "Invalid argument."),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidBucketState": (409, "The request is not valid for the current state of the bucket."),
    "InvalidDigest": (400, "The Content-MD5 or checksum value that you specified is not valid."),
    "InvalidObjectName": (400, "The object key is reserved by the storage layer."),
    "InvalidObjectState": (403, "The operation is not valid for the object's storage class or state."),
    "InvalidPart": (400, "One or more of the specified parts could not be found, or the ETag does not match the part's."),
    "InvalidPartNumber": (416, "The requested part number is not satisfiable."),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order."),
    "InvalidRange": (416, "The requested range cannot be satisfied."),
    "InvalidRequest": (400, "Invalid request."),
    "InvalidTag": (400, "The tag is not valid."),
    "InvalidURI": (400, "The URI could not be parsed."),
    "KeyTooLongError": (400, "Your key is too long."),
    "MalformedXML": (400, "The XML that you provided was not well formed or did not validate."),
    "MaxMessageLengthExceeded": (400, "Your request was too large."),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size."),
    "MethodNotAllowed": (405, "The method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "MissingRequestBodyError": (400, "The request body is empty."),
    "MissingSecurityHeader": (400, "A required header is missing."),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchUpload": (404, "The specified multipart upload does not exist; it may have been aborted or completed."),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NotImplemented": (501, "A header or operation that you requested is not implemented."),
    "OperationAborted": (409, "A conflicting operation is in progress against this resource. Try again."),
    "PreconditionFailed": (412, "At least one of the preconditions that you specified did not hold."),
    "RequestBodyLengthMismatch": (400, "The request body is longer than the declared length."),
    "RequestHeaderSectionTooLarge": (400, "Your request headers exceed the maximum allowed size."),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the server's time is too large."),
    "RequestTimeout": (400, "The connection was idle for too long while the request was read."),
    "ServiceUnavailable": (503, "The storage backend did not answer. Try again."),
    "SignatureDoesNotMatch": (403, "The request signature that we calculated does not match the signature that you provided."),
    "SlowDown": (503, "Reduce your request rate."),
    "TooManyParts": (400, "Part number must be between 1 and 10000."),
    "UnexpectedContent": (400, "This request does not support content."),
    "UnsupportedSignature": (400, "The request signature version is not supported."),
    "XAmzContentSHA256Mismatch": (400, "The provided x-amz-content-sha256 header does not match what was computed."),
}
"""Every code this package makes itself, with HTTP status and default message. Codes of the backend pass through with their own status."""


class GatewayError(Exception):
    """Base of all that s4_gateway raises on purpose."""


class S3Error(GatewayError):
    """An answer that is an S3 error document.

    Args:
        code: a key of `ERRORS`, or a backend's code together with `status`.
        message: for people; never parsed.
        status: only for codes that are not in `ERRORS`.
        fields: further elements of the document, e.g. `{"ArgumentName": "max-keys"}`.
        headers: extra response headers, e.g. Content-Range of a 416.
        close: the connection cannot be used again (the request body was not read).
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        status: int | None = None,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        known = ERRORS.get(code)
        if known is None and status is None:
            raise ValueError(f"{code} is not in ERRORS and has no status")
        self.code = code
        self.status = status if status is not None else known[0] if known else HTTPStatus.INTERNAL_SERVER_ERROR
        self.message = message or (known[1] if known else code)
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})
        self.close = close
        super().__init__(f"{self.code}: {self.message}")


class NotModified(GatewayError):
    """A conditional read whose object did not change: 304 with these headers (ETag, Last-Modified, ...) and no body (RFC 9110 15.4.5)."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__("not modified")
        self.headers = dict(headers)


class ClientDisconnected(GatewayError):
    """The client closed its connection before the exchange ended."""


class SettingsError(GatewayError):
    """A setting is missing, malformed or contradicts another; the message names it and what is accepted."""
