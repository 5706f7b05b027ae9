"""Map wire formats to codecs: one line each."""

from __future__ import annotations

from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec.base import Codec, Names
from opensvc_openha.heartbeat.codec.legacy import LegacyCodec
from opensvc_openha.heartbeat.codec.own import NewestFields, OwnCodec


def codec_for(
    link: LinkSpec,
    own_names: Names,
    authentication: Authentication,
    newest: NewestFields | None = None,
) -> Codec:
    """Return the codec of one end of a link; those that one thread serves may share ``newest``."""
    if link.wire is Wire.LEGACY:
        return LegacyCodec(link, own_names)
    return OwnCodec(link, own_names, authentication, newest=newest)
