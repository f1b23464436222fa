"""On which line a key of a TOML file stands, for messages.

The standard parser keeps no line numbers. This scanner walks a text that the parser has already accepted, so it
needs to know where values end, not whether they are right. A *path* is a tuple of key names; an element of an array
of tables has the table's path.
"""

from __future__ import annotations

import tomllib

Path = tuple[str, ...]
_BARE_END = set(" \t\r\n=.]}#,")


def key_lines(text: str) -> dict[Path, int]:
    """Lines (from 1) of every key and table that is written out in `text`; the first one wins."""
    return _Scanner(text.replace("\r\n", "\n")).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}

    def run(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip(" \t\n"):
            if self.text[self.at] == "[":
                line = self._line()
                self.at += 2 if self.text.startswith("[[", self.at) else 1
                table = self._key()
                self._note(table, line)
                self.at = self._line_end()
            else:
                self._pair(table)
        return self.lines

    def _pair(self, table: Path) -> None:
        """`key = value`, up to behind the value."""
        line = self._line()
        path = table + self._key()
        for depth in range(len(table) + 1, len(path) + 1):
            self._note(path[:depth], line)
        self.at = self.text.index("=", self.at) + 1
        self._value(path)

    def _key(self) -> Path:
        """A dotted key; stops at what follows it."""
        parts: list[str] = []
        while True:
            self._blanks()
            quote = self.text[self.at]
            start = self.at
            if quote in "\"'":
                self._string()
                parts.append(_unquoted(self.text[start : self.at]))
            else:
                while self.at < len(self.text) and self.text[self.at] not in _BARE_END:
                    self.at += 1
                parts.append(self.text[start : self.at])
            self._blanks()
            if not self.text.startswith(".", self.at):
                return tuple(parts)
            self.at += 1

    def _value(self, path: Path) -> None:
        self._blanks()
        first = self.text[self.at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _array(self, path: Path) -> None:
        self.at += 1
        while self._skip(" \t\n,") and self.text[self.at] != "]":
            self._value(path)
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while self._skip(" \t\n,") and self.text[self.at] != "}":
            self._pair(path)
        self.at += 1

    def _string(self) -> None:
        quote = self.text[self.at]
        long = self.text.startswith(quote * 3, self.at)
        mark = quote * 3 if long else quote
        self.at += len(mark)
        while not self.text.startswith(mark, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(mark)
        while long and self.text.startswith(quote, self.at):  # up to two more quotes belong to the text
            self.at += 1

    def _skip(self, blanks: str) -> bool:
        """Pass blanks and comments; whether anything is left."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                self.at = self._line_end()
            elif self.text[self.at] in blanks:
                self.at += 1
            else:
                return True
        return False

    def _blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def _line_end(self) -> int:
        end = self.text.find("\n", self.at)
        return len(self.text) if end < 0 else end

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _note(self, path: Path, line: int) -> None:
        self.lines.setdefault(path, line)


def _unquoted(quoted: str) -> str:
    (name,) = tomllib.loads(f"{quoted} = 0")
    return name
