"""Names that hide and names that are made: reserved keys and ETags."""

from s4_format import (
    FormatError,
    codec_from_label,
    detect_envelope,
    dictionary_key,
    is_dictionary_id,
    is_reserved,
    quote_etag,
    sidecar_key,
    unquote_etag,
)
from s4_gateway.objects.uploads.records import folder, id_order, is_upload_id

from fuzzing.target import Target, require


def check_name(data: bytes) -> None:
    """Whatever a key is called: names made of it are reserved, and ETags survive their quotes."""
    name = data.decode("utf-8", "replace")
    require(unquote_etag(quote_etag(name)) == name, "an ETag survives its quotes")
    detect_envelope(data)
    if is_upload_id(name):
        id_order(name)
        require(is_reserved(folder(name) + "x"), "records of an upload are reserved")
    if is_dictionary_id(name):
        require(is_reserved(dictionary_key(name)), "dictionaries are reserved")
    if name and not is_reserved(name):
        require(is_reserved(sidecar_key(name)), "sidecars are reserved")
    codec_from_label(name)


TARGETS = (
    Target(
        "names",
        check_name,
        modules=("s4_format.keys", "s4_format.etag", "s4_gateway.objects.uploads.records"),
        seeds=(b"a/b.s4index", b".s4mpu/0123/upload", b".s4dict/0123456789abcdef", b"0123456789abcdef", b"0" * 44, b"a.__s4ver__/x"),
        words=(b".s4mpu/", b".s4dict/", b".s4index", b".__s4ver__/", b"S4E1", b"cpu-zstd", b'"'),
        refusals=(FormatError,),
        max_bytes=1100,
    ),
)
