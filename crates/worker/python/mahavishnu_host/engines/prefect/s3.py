"""Requests for objects of any store that speaks S3, signed (AWS Signature Version 4). DuckDB's own extension for it would
have to be fetched from the network at run time.

Invariant: the key is used for signing only; no message holds it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Store:
    """Where objects are and who asks. Without keys nothing is signed: public buckets."""

    endpoint: str
    region: str
    access_key: str = ""
    secret_key: str = ""

    def request(
        self, bucket: str, key: str = "", query: dict[str, str] | None = None, method: str = "GET", content: str = _EMPTY
    ) -> tuple[str, dict[str, str]]:
        """Address and headers; `content` is the hash of what is sent."""
        base = urlsplit(self.endpoint)
        path = quote(f"{base.path.rstrip('/')}/{bucket}/{key}" if key else f"{base.path.rstrip('/')}/{bucket}")
        asked = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted((query or {}).items()))
        url = f"{base.scheme}://{base.netloc}{path}" + (f"?{asked}" if asked else "")
        headers = {"host": base.netloc}
        if self.access_key:
            headers |= self.sign(path, asked, headers, datetime.now(timezone.utc), method, content)
        return url, headers

    def sign(
        self, path: str, query: str, headers: dict[str, str], now: datetime, method: str = "GET", content: str = _EMPTY
    ) -> dict[str, str]:
        """The headers that a signature adds."""
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        headers = {**headers, "x-amz-content-sha256": content, "x-amz-date": stamp}
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{content}"
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        said = f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope},SignedHeaders={names},Signature={signature}"
        return {"x-amz-content-sha256": content, "x-amz-date": stamp, "authorization": said}


def keys(answer: bytes) -> tuple[list[str], str]:
    """The keys of a list of objects, and the token of what follows."""
    tree = ElementTree.fromstring(answer)
    found = [element.text or "" for element in _named(tree, "Key")]
    return found, next((element.text or "" for element in _named(tree, "NextContinuationToken")), "")


def code(answer: bytes) -> str:
    """What a store calls an error."""
    try:
        return next((element.text or "" for element in _named(ElementTree.fromstring(answer), "Code")), "")
    except ElementTree.ParseError:
        return ""


def _named(tree: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (element for element in tree.iter() if element.tag.rpartition("}")[2] == name)
