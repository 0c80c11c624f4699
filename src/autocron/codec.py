"""Values as JSON text, and back as what they were.

What JSON knows is stored as it is. Anything else is an object with one key, a tag that begins with ``$``:
``{"$tuple": [1, 2]}``, ``{"$date": "2026-02-01"}``, and for a class of the application its name,
``{"$shop.models:Point": {"x": 1, "y": 2}}``. A dict that could be taken for one of these, or whose keys are not all
texts, is stored as pairs.

Only exact types count: a subclass would come back as something else, so it is refused. A text from the database never
causes an import and never makes anything but the types named here, enums, dataclasses and named tuples of modules that
are imported already, and what was registered with :func:`register_type`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import Enum, Flag
from math import isfinite
from types import ModuleType, NoneType
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import msgspec

from autocron.kinds import BUILT_IN, BY_TAG, KINDS, PAIRS, RefusedError, add_kind
from autocron.names import find_module, real_module_name
from autocron.workflow import parents_in

T = TypeVar("T")

_DEEPEST = 200  # levels of JSON; each costs up to two frames of a stack that ends at a thousand
_DEEPEST_READ = _DEEPEST + 2  # the innermost dict may have been stored as pairs, which are two levels more
_LONGEST_PLACE = 100  # characters; what contains itself has a place of a thousand
_TOO_DEEP = "nested too deeply, or contains itself"
_ITEM = "[{!r}]"

_type_of: Callable[[Any], type[Any]] = type  # the exact class, as the type checkers should see it
_read_json = msgspec.json.Decoder().decode
_write_json = msgspec.json.Encoder().encode


class CodecError(ValueError):
    """A stored text can't be turned into a value here; the message says why."""


def encode(value: object, name: str = "value") -> str:
    """Give a value as the text that is stored.

    Args:
        value: anything described in docs/values.md.
        name: what an error calls it.

    Raises:
        TypeError: it can't be stored; the message says which part of it and what to do.
    """
    text = _write(lambda encoder: encoder.walk(value, 0), name)
    if parents_in(text):
        raise TypeError(f"{name}: a TaskResult can only be an argument of a call; keep its uuid, for get_result(uuid)")
    return text


def encode_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Give the arguments of a call as the text that is stored.

    Raises:
        TypeError: one can't be stored; the message names it and says what to do.
    """
    return _write(
        lambda encoder: [
            encoder.items(args, 2, "argument {}", 1),
            kwargs and encoder.mapping(kwargs, 2, "argument {!r}"),
        ]
    )


def decode(text: str | bytes) -> Any:
    """Give the value that a text of :func:`encode` stands for.

    Raises:
        CodecError: it is not such a text, or needs a class that is not imported or registered here.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        tree = _read_json(text)
        return _restored(tree, 0) if '"$' in text or _may_be_deep(text) else tree
    except CodecError:
        raise
    except (msgspec.DecodeError, UnicodeError) as error:
        raise CodecError(f"this is not JSON: {error}") from error
    except RecursionError:
        raise CodecError(_TOO_DEEP) from None


def decode_call(text: str | bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the positional and the keyword arguments that a text of :func:`encode_call` stands for.

    Raises:
        CodecError: as for :func:`decode`.
    """
    call = decode(text)
    shape = [*map(type, call)] if _type_of(call) is list else None
    if shape != [list, dict] or not {str}.issuperset(map(type, call[1])):
        raise CodecError("these are not the arguments of a call")
    return tuple(call[0]), call[1]


def register_type(cls: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Make a class known, so that its instances can be arguments and results.

    Every process that stores or runs such a job must do this: put it beside the class.

    Args:
        cls: exactly this class, not its subclasses.
        encode: gives the instance as something that can be stored.
        decode: makes an instance of what ``encode`` gave.

    Raises:
        TypeError: this is a type that autocron stores by itself.
    """
    if cls in BUILT_IN:
        raise TypeError(f"{cls.__name__} is stored as it is; only other classes can be registered")
    add_kind(cls, f"${_name(cls)}", encode, object, decode)


# From values to what msgspec writes as JSON.


def _is_clean(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # lone surrogates, as in the names of odd files
        return False


_FITS_JSON: dict[type, Callable[[Any], bool]] = {
    float: isfinite,
    str: _is_clean,
    int: lambda value: -(2**63) <= value < 2**63,
}


class _Encoder:
    """Walks through a value and replaces what JSON doesn't know.

    Args:
        atoms: the types that are left as they are, unseen.
    """

    def __init__(self, *atoms: type) -> None:
        self._atoms = frozenset(atoms)

    def walk(self, value: Any, depth: int) -> Any:
        cls = _type_of(value)
        if cls in self._atoms or (cls in _FITS_JSON and _FITS_JSON[cls](value)):
            return value
        if depth >= _DEEPEST:
            raise RefusedError(f"{_TOO_DEEP}: at most {_DEEPEST} levels can be stored")
        if cls is list:
            return self.items(value, depth + 1)
        if cls is dict:
            return self.mapping(value, depth + 1)
        if cls in KINDS:
            kind = KINDS[cls]
            return {kind.tag: self.walk(kind.reduce(value), depth + 1)}
        return {f"${_findable_name(cls)}": self._content(value, cls, depth + 1)}

    def items(self, values: Sequence[Any], depth: int, place: str = _ITEM, first: int = 0) -> Sequence[Any]:
        """Walk through a list or tuple whose items are at this depth; errors count them from ``first`` on."""
        if self._atoms.issuperset(map(type, values)):
            return values
        done: list[Any] = []
        try:
            for value in values:
                done.append(self.walk(value, depth))
        except RefusedError as refused:
            raise refused.within(place.format(first + len(done))) from None
        return done

    def mapping(self, values: Mapping[Any, Any], depth: int, place: str = _ITEM) -> Any:
        """Walk through a dict whose values are at this depth, or two levels deeper where its keys make it pairs."""
        plain = all(map(self._is_plain_key, values))
        if plain and self._atoms.issuperset(map(type, values.values())):
            return values
        pairs: list[Any] = []
        key = None
        try:
            for key, value in values.items():
                pairs.append((key, self.walk(value, depth)) if plain else self.items((key, value), depth + 2, ""))
        except RefusedError as refused:
            raise refused.within(place.format(key)) from None
        return dict(pairs) if plain else {PAIRS: pairs}

    def _is_plain_key(self, key: object) -> bool:
        return type(key) is str and key[:1] != "$" and (str in self._atoms or _is_clean(key))

    def _content(self, value: Any, cls: type[Any], depth: int) -> Any:
        """Reduce an instance of a class that can be found again by its name."""
        if issubclass(cls, Flag):
            return self.walk(value.value, depth)
        if issubclass(cls, Enum):
            return value.name
        if _is_named_tuple(cls):
            return self.items(tuple(value), depth + 1)
        content = {field.name: getattr(value, field.name) for field in fields(cls) if hasattr(value, field.name)}
        lacking = [name for name, needed in _parameters(cls).items() if needed and name not in content]
        if lacking:
            raise RefusedError(f"{_cannot_store(cls)} (its __init__ wants {lacking[0]!r}, which is not a field)")
        return self.mapping(content, depth + 1, ".{}")


_QUICK = _Encoder(NoneType, bool, int, str)
_CAREFUL = _Encoder(NoneType, bool)  # looks for the texts and numbers that JSON or a database doesn't take


def _write(build: Callable[[_Encoder], Any], name: str = "") -> str:
    try:
        try:
            raw = _write_json(build(_QUICK))
            if b"\\u0000" not in raw:  # PostgreSQL could not cast it to jsonb
                return raw.decode()
        except (ValueError, OverflowError):
            pass
        return _write_json(build(_CAREFUL)).decode()
    except RefusedError as refused:
        place = refused.place if len(refused.place) <= _LONGEST_PLACE else f"{refused.place[:_LONGEST_PLACE]}..."
        raise TypeError(f"{name}{place}: {refused}") from None
    except RecursionError:
        raise TypeError(f"{name or 'an argument'}: {_TOO_DEEP}") from None


def _findable_name(cls: type[Any]) -> str:
    if not (issubclass(cls, Enum) or _is_named_tuple(cls) or _is_dataclass(cls)):
        raise RefusedError(_cannot_store(cls))
    name = _name(cls)
    if _find_class(name) is not cls:
        raise RefusedError(f"a worker could not find the class {name} by this name. Define it at the top of its module")
    return name


def _cannot_store(cls: type[Any]) -> str:
    base = next((base for base in cls.__mro__ if base in BUILT_IN), None)
    reason = f" (it would come back as a plain {base.__name__})" if base else ""
    full_name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    article = "an" if full_name[0] in "aeioAEIO" else "a"
    refusal = f"{article} {full_name} can't be stored{reason}."
    known = f"known: autocron.register_type({cls.__name__}, encode, decode)"
    if cls.__module__ == "builtins":
        return f"{refusal} Pass plain data"
    if base:
        return f"{refusal} Convert it to that, or make the class {known}"
    return f"{refusal} Pass plain data, for a database object its id; or make the class a dataclass, or {known}"


# From what msgspec read to values.


def _may_be_deep(text: str) -> bool:
    return len(text) > 2 * _DEEPEST and text.count("[") + text.count("{") > _DEEPEST


def _restored(node: Any, depth: int) -> Any:
    cls = _type_of(node)
    if cls is not list and cls is not dict:
        return node
    if depth >= _DEEPEST_READ:
        raise CodecError(_TOO_DEEP)
    if cls is list:
        return [_restored(item, depth + 1) for item in node]
    if len(node) == 1:
        [(tag, content)] = node.items()
        if tag.startswith("$"):
            return _untagged(tag, _restored(content, depth + 1))
    return {key: _restored(item, depth + 1) for key, item in node.items()}


def _untagged(tag: str, content: Any) -> Any:
    kind = BY_TAG.get(tag)
    try:
        if kind is None:
            return _instance(tag[1:], content)
        if not isinstance(content, kind.simpler):
            raise CodecError(f"{tag} needs a {kind.simpler.__name__}, not a {type(content).__name__}")
        return kind.restore(content)
    except CodecError:
        raise
    except Exception as error:  # also what a constructor of the application raises
        raise CodecError(f"{tag}: {type(error).__name__}: {error}") from error


def _instance(name: str, content: Any) -> Any:
    cls = _find_class(name)
    if cls is None:
        raise CodecError(
            f"{name} is no type that is stored by this version, nor a class that is imported or registered"
        )
    if _is_named_tuple(cls) and _type_of(content) is list:
        return cls._make(content)
    if issubclass(cls, Flag) and _type_of(content) is int:
        return cls(content)
    if issubclass(cls, Enum) and _type_of(content) is str:
        return cls.__members__[content]
    if _is_dataclass(cls) and _type_of(content) is dict:
        return _dataclass(cls, content)
    raise CodecError(f"{name} can't be made of a {type(content).__name__}")


def _dataclass(cls: type[Any], content: dict[str, Any]) -> Any:
    unknown = content.keys() - {field.name for field in fields(cls)}
    if unknown:
        raise CodecError(f"{cls.__qualname__} has no field {min(unknown)!r} any more")
    parameters = _parameters(cls)
    made = cls(**{name: value for name, value in content.items() if name in parameters})
    for name, value in content.items():  # whatever __init__ made of them
        object.__setattr__(made, name, value)
    return made


# Classes of the application.


def _name(cls: type[Any]) -> str:
    return f"{real_module_name(cls.__module__)}:{cls.__qualname__}"


def _find_class(name: str) -> type[Any] | None:
    """Find a class in the modules that are imported already, going through classes only."""
    module_name, _, path = name.partition(":")
    module = find_module(module_name)
    if not issubclass(type(module), ModuleType):
        return None
    # Neither a module's __getattr__ nor a lazy module may take this as a reason to import something.
    scope: Mapping[str, Any] = object.__getattribute__(module, "__dict__")
    found: Any = None
    for part in path.split("."):
        found = scope.get(part)
        if not isinstance(found, type):
            return None
        scope = vars(found)
    return cast("type[Any]", found)


def _is_dataclass(cls: type[Any]) -> bool:
    return "__dataclass_fields__" in vars(cls) and BUILT_IN.isdisjoint(cls.__mro__)


def _is_named_tuple(cls: type[Any]) -> bool:
    return "_fields" in vars(cls) and issubclass(cls, tuple)


_PARAMETERS: WeakKeyDictionary[type[Any], dict[str, bool]] = WeakKeyDictionary()


def _parameters(cls: type[Any]) -> dict[str, bool]:
    """Give the parameters of a dataclass's constructor, and whether each is needed."""
    known = _PARAMETERS.get(cls)
    if known is None:
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        parameters = [p for p in inspect.signature(cls).parameters.values() if p.kind not in variadic]
        known = _PARAMETERS[cls] = {p.name: p.default is p.empty for p in parameters}
    return known
