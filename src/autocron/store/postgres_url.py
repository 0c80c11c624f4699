"""The URL of a PostgreSQL database: what autocron adds to it, and what may be shown of it."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from autocron.errors import ConfigError

DEFAULT_SCHEMA = "autocron"
_SCHEMES = ("postgresql://", "postgres://")
_SHOWN = ("dbname", "host", "hostaddr", "port", "service", "user")  # of what may stand behind the question mark
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")


def is_url(text: str) -> bool:
    """Does this mean a PostgreSQL database?"""
    return text.startswith(_SCHEMES)


def canonical(url: str, schema: str | None = None) -> str:
    """Give the URL with the schema in it.

    Raises:
        ConfigError: it is no URL, or no name of a schema.
    """
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        raise ConfigError("this postgresql:// URL cannot be read; special characters in it must be %-encoded") from None
    given = query.pop("schema", None)
    if schema is not None and given not in (None, schema):
        raise ConfigError(f"schema: {schema!r} is given, but the URL says {given!r}")
    chosen = given or schema or DEFAULT_SCHEMA
    if not _SCHEMA_NAME.fullmatch(chosen) or chosen.startswith("pg_"):
        raise ConfigError(f"schema: {chosen!r} must be of lower-case letters, digits and _, and not begin with pg_")
    return _url(parts.netloc, parts.path, {**query, "schema": chosen})


def schema_of(address: str) -> str:
    """Give the schema that a canonical URL names."""
    return dict(parse_qsl(urlsplit(address).query))["schema"]


def for_libpq(address: str) -> str:
    """Give a canonical URL without what PostgreSQL's library does not know."""
    parts = urlsplit(address)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    del query["schema"]
    return _url(parts.netloc, parts.path, query)


def name(address: str) -> str:
    """Give a canonical URL as people may see it: without secrets."""
    parts = urlsplit(address)
    login, at, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query))
    shown = {key: query[key] for key in (*_SHOWN, "schema") if key in query}
    return _url(login.partition(":")[0] + at + hosts, parts.path, shown)


def secrets(address: str) -> set[str]:
    """Give what must not be in any text."""
    parts = urlsplit(address)
    password = parts.netloc.rpartition("@")[0].partition(":")[2]
    query = dict(parse_qsl(parts.query))
    found = {password, unquote(password), *(query.get(key, "") for key in ("password", "sslpassword"))}
    return found - {""}


def _url(netloc: str, path: str, query: dict[str, str]) -> str:
    return f"postgresql://{netloc}{path}?{urlencode(query, quote_via=quote, safe='/,:')}"
