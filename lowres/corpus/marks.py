"""The marks of a page of wikitext, and which of them belong together, found in time linear in the page."""

import re

# Every repeat is possessive (`*+`) or bounded, so a failed match never tries a page's text twice.
_URL = r"[^\s\[\]<>{}|\"]*+"
# No groups: only then does `re` skip to the characters a mark can begin with, which is twelve times as fast.
_MARK = re.compile(
    r"\{\{(?:\{(?!\{))?"  # template or parameter opens
    r"|\}\}(?:\}(?!\}))?"  # ... closes
    r"|\[\["  # link opens
    r"|\]\](?!\](?!\]))|\]"  # link closes: of three brackets the first is an external link's
    rf"|\[(?:(?:https?|ftps?|irc|news|gopher):|(?=//))(?://)?{_URL}[ \t]*+|\[mailto:{_URL}[ \t]*+"  # external link
    r"|</?[a-zA-Z][^<>]{0,2000}+>"  # tag
    r"|\n[ \t:*#;]*+\{\|"  # table opens
    r"|\n[ \t]*+\|\}(?!\}(?!\}))"  # table closes
    r"|\n(?=[ \t]*+\n)"  # blank line
    rf"|://{_URL}"  # bare URL, seen from its middle
)
OPEN, CLOSE, LINK, END_LINK, EXTERNAL, TAG, TABLE, END_TABLE, BLANK, BARE = range(1, 11)
DROP, BREAK, VERBATIM = 11, 12, 13
_WHOLE_MARKS = {
    "{{": OPEN, "{{{": OPEN, "}}": CLOSE, "}}}": CLOSE, "[[": LINK, "]]": END_LINK, "]": END_LINK, "\n": BLANK
}  # fmt: skip
_BY_FIRST = {"<": TAG, "[": EXTERNAL, ":": BARE}
_CLOSES = {CLOSE: OPEN, END_LINK: LINK, END_TABLE: TABLE}

_TAG_NAME = re.compile(r"</?([a-zA-Z]+[1-6]?)")
_UNREAD_TAGS = frozenset(
    "ref math chem ce gallery timeline score syntaxhighlight source graph mapframe maplink imagemap hiero references "
    "templatestyles pre nowiki includeonly inputbox categorytree style script table templatedata indicator".split()
)
_BREAKING_TAGS = frozenset(
    "br p div li ul ol dl dt dd hr center blockquote h1 h2 h3 h4 h5 h6 poem tr td th section".split()
)
BLANK_LINE = re.compile(r"\n[ \t]*+\n")


class Marks:
    """The marks of one page in order, as parallel lists.

    kinds: one of the constants above. starts, ends: where the mark stands in `text`; of what is not read (a reference,
    a formula) the end is the end of its content. mates: the index of the mark that closes or opens it, or -1.
    """

    def __init__(self, text: str):
        self.text = text
        self.kinds: list[int] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.mates: list[int] = []
        self._closers: dict[str, int] = {}
        self._blank_from = self._blank_at = -1
        self._pair()

    def _pair(self) -> None:
        """Fills kinds, starts, ends and mates (the index of the mark that closes or opens it, or -1)."""
        kinds, starts, ends, mates = self.kinds, self.starts, self.ends, self.mates
        stack: list[int] = []
        open_of = {OPEN: 0, LINK: 0, TABLE: 0, EXTERNAL: 0}
        done = 0
        for match in _MARK.finditer(self.text):
            start, end = match.span()
            if start < done:
                continue
            mark = match[0]
            kind = _WHOLE_MARKS.get(mark) or _BY_FIRST.get(mark[0]) or (END_TABLE if mark[-1] == "}" else TABLE)
            if kind == TAG:
                kind, end = self._tag(mark, end)
                done = end
            index = len(kinds)
            kinds.append(kind)
            starts.append(start)
            ends.append(end)
            mates.append(-1)
            if kind in open_of:
                if kind == EXTERNAL and stack and kinds[stack[-1]] == EXTERNAL:
                    open_of[EXTERNAL] -= 1
                    stack.pop()
                open_of[kind] += 1
                stack.append(index)
            elif kind in _CLOSES:
                self._close(index, stack, open_of)
            elif kind == BLANK:
                # A paragraph ends: links do not span it, templates and tables do.
                while stack and kinds[stack[-1]] in (LINK, EXTERNAL):
                    open_of[kinds[stack.pop()]] -= 1

    def _close(self, index: int, stack: list[int], open_of: dict[int, int]) -> None:
        """Pairs a closing mark with the nearest opening mark of its kind; marks left open in between stay unpaired."""
        kinds, mates = self.kinds, self.mates
        wanted = _CLOSES[kinds[index]]
        if wanted == LINK and self.ends[index] - self.starts[index] == 1:
            if not (stack and kinds[stack[-1]] == EXTERNAL):
                return
            wanted = EXTERNAL
            # An external link ends with its line.
            if self.text.find("\n", self.ends[stack[-1]], self.starts[index]) >= 0:
                open_of[EXTERNAL] -= 1
                stack.pop()
                return
        if not open_of[wanted]:
            return
        while True:
            opener = stack.pop()
            open_of[kinds[opener]] -= 1
            if kinds[opener] == wanted:
                mates[opener], mates[index] = index, opener
                return

    def _tag(self, tag: str, end: int) -> tuple[int, int]:
        """What a tag does to the text, and where what it covers ends."""
        found = _TAG_NAME.match(tag)
        name = found.group(1).lower() if found else ""
        if name in _BREAKING_TAGS:
            return BREAK, end
        if name not in _UNREAD_TAGS or tag[1] == "/" or tag.endswith("/>"):
            return DROP, end
        close = self._next(rf"</{name}\s*+>", end)
        if name == "ref":
            # A <ref> that opens before the next </ref> shows that this one was never closed.
            again = self._next(r"<ref\b(?![^<>]*+/>)", end)
            if close < 0 or 0 <= again < close:
                blank = self.blank_after(end)
                return DROP, min(blank, again) if again >= 0 else blank
        if close < 0:
            return DROP, end if name == "nowiki" else self.blank_after(end)
        return (VERBATIM if name == "nowiki" else DROP), self.text.index(">", close) + 1

    def _next(self, pattern: str, position: int) -> int:
        """Where `pattern` is next found, or -1. Remembers the last answer, so a page is searched once a pattern."""
        known = self._closers.get(pattern, -2)
        if known == -1 or known >= position:
            return known
        match = re.compile(pattern, re.I).search(self.text, position)
        self._closers[pattern] = found = match.start() if match else -1
        return found

    def blank_after(self, position: int) -> int:
        """Start of the next blank line, or the end of the page; remembers the last answer."""
        if not self._blank_from <= position <= self._blank_at:
            match = BLANK_LINE.search(self.text, position)
            self._blank_from, self._blank_at = position, match.start() if match else len(self.text)
        return self._blank_at
