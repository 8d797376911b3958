"""From the schema to the decoder's tables; compiled once, at the start.

Repeated numbers are understood packed and unpacked, whatever the schema says, as protobuf demands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from google.protobuf.descriptor import FieldDescriptor as F

from actors.matches import readers, values
from actors.matches.patch import FieldSpec
from actors.matches.schema import Schema
from actors.matches.shape import Convert, Kind, Read, Shape
from actors.matches.wire import BYTES, FIXED32, FIXED64, VARINT

_VARINTS: Final[Mapping[int, Convert]] = {
    F.TYPE_UINT32: values.uint32,
    F.TYPE_INT32: values.int32,
    F.TYPE_SINT32: values.sint32,
    F.TYPE_UINT64: values.uint64,
    F.TYPE_INT64: values.int64,
    F.TYPE_SINT64: values.sint64,
    F.TYPE_BOOL: bool,
}
_FIXED32: Final[Mapping[int, Convert]] = {
    F.TYPE_FIXED32: values.fixed32,
    F.TYPE_SFIXED32: values.sfixed32,
}
_FIXED64: Final[Mapping[int, Convert]] = {
    F.TYPE_FIXED64: values.fixed64,
    F.TYPE_SFIXED64: values.sfixed64,
    F.TYPE_DOUBLE: values.float64,
}
_DELIMITED: Final[Mapping[int, Convert]] = {
    F.TYPE_STRING: values.text,
    F.TYPE_BYTES: values.base64_text,
}
_PLAIN: Final = frozenset({F.TYPE_UINT32, F.TYPE_INT32})  # small ones are themselves


class Compiler:
    """Compiles the messages of one schema, each once. `float32`: how 32-bit floats are shown."""

    def __init__(self, schema: Schema, *, float32: Convert = values.float32) -> None:
        self._schema = schema
        self._fixed32 = {**_FIXED32, F.TYPE_FLOAT: float32}
        self._shapes: dict[str, Shape] = {}
        self._open: list[str] = []

    def shape(self, name: str) -> Shape:
        """Return the shape of the message `name`.

        Raises:
            ValueError: the message contains itself. The decoder's recursion is as deep as the schema.
        """
        if name in self._open:
            raise ValueError(f"{' > '.join(self._open)} > {name} has no end")
        if name not in self._shapes:
            self._open.append(name)
            shape = Shape(name)
            for spec in self._schema.messages[name]:
                self._add(shape, spec)
            self._shapes[self._open.pop()] = shape
        return self._shapes[name]

    def _add(self, shape: Shape, spec: FieldSpec) -> None:
        if spec.type == F.TYPE_MESSAGE:
            kind = Kind.MESSAGES if spec.repeated else Kind.MESSAGE
            shape.add(spec.number, BYTES, (kind, spec.name, self.shape(spec.refers_to)))
        elif spec.type in _PLAIN and not spec.repeated:
            shape.add(spec.number, VARINT, (Kind.INT, spec.name, _VARINTS[spec.type]))
        else:
            self._add_other(shape, spec)

    def _add_other(self, shape: Shape, spec: FieldSpec) -> None:
        wire_type, read, read_packed = self._readers(spec)
        if spec.repeated:
            read = readers.repeated(spec.name, read)
            if read_packed is not None:
                shape.add(spec.number, BYTES, (Kind.OTHER, spec.name, read_packed))
        shape.add(spec.number, wire_type, (Kind.OTHER, spec.name, read))

    def _readers(self, spec: FieldSpec) -> tuple[int, Read, Read | None]:
        """Return the wire type, who reads one, and who reads many that are packed."""
        name = spec.name
        if spec.type in _DELIMITED:
            return BYTES, readers.delimited(name, _DELIMITED[spec.type]), None
        for wire_type, size, converts in ((FIXED32, 4, self._fixed32), (FIXED64, 8, _FIXED64)):
            if (convert := converts.get(spec.type)) is not None:
                one = readers.fixed(name, convert, size)
                return wire_type, one, readers.packed_items(name, convert, size)
        convert = self._number(spec)
        return VARINT, readers.number(name, convert), readers.packed_numbers(name, convert)

    def _number(self, spec: FieldSpec) -> Callable[[int], object]:
        if spec.type == F.TYPE_ENUM:
            return values.enum(self._schema.enums[spec.refers_to])
        return _VARINTS[spec.type]
