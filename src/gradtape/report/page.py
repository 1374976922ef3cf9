"""One self-contained HTML page: styles, script, data and pictures inside, nothing loaded from anywhere."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from gradtape.report._markup import escape, inline, need, slug
from gradtape.report.section import Section


@cache
def _asset(name: str) -> str:
    return files("gradtape.report").joinpath("assets", name).read_text(encoding="utf-8").strip()


def _script(name: str) -> tuple[str, str]:
    """A script element and the hash by which the page's policy admits it, and no other."""
    body = _asset(name)
    if name.startswith("uPlot"):
        body = f"/*! {_asset('uPlot.LICENSE')} */\n{body}"
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    return f"<script>{body}</script>", f"'sha256-{digest}'"


class Page:
    """A page built of sections; the same input gives the same bytes.

    Args:
        title: Its heading and the browser's title.
        subtitle: A line under the heading.
        footer: A line at the end.

    Raises:
        InputError: The title is empty.

    Examples:
        >>> page = Page("gradtape augment digits", subtitle="seed 0", footer="gradtape 0.1.0")
        >>> section = page.section("Did it help?", lead="Paired over five seeds.")
        >>> section.verdict("no", "No. The 95% interval covers zero.")
        >>> page.html().startswith("<!doctype html>")
        True
    """

    def __init__(self, title: str, subtitle: str = "", footer: str = "") -> None:
        self.title = need(title, "the title of the page")
        self.subtitle = subtitle
        self.footer = footer
        self.sections: list[Section] = []

    def section(self, title: str, lead: str = "") -> Section:
        """Begin a section and return it, to be filled.

        Args:
            title: Its heading, also in the table of contents; its anchor is made of it.
            lead: One sentence under the heading.

        Raises:
            InputError: The title is empty.

        Examples:
            >>> page = Page("report")
            >>> page.section("Data").anchor, page.section("Data").anchor
            ('data', 'data-2')
        """
        stem = slug(title) or f"section-{len(self.sections) + 1}"
        taken = {known for s in self.sections for known in (s.anchor, f"{s.anchor}-title")} | {"top", "content"}
        anchor, count = stem, 2
        while anchor in taken or f"{anchor}-title" in taken:
            anchor, count = f"{stem}-{count}", count + 1
        made = Section(title, lead, anchor=anchor)
        self.sections.append(made)
        return made

    def html(self) -> str:
        """The whole page as text; write it in UTF-8.

        Examples:
            >>> "<h1>" in Page("report").html()
            True
        """
        styles = [_asset("report.css")]
        scripts = [_script("report.js")]
        if any(section.charts for section in self.sections):
            styles.insert(0, _asset("uPlot.min.css"))
            scripts.insert(0, _script("uPlot.iife.min.js"))
        policy = (
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src {' '.join(digest for _, digest in scripts)}; base-uri 'none'; form-action 'none'"
        )
        items = "".join(f'<li><a href="#{s.anchor}">{inline(s.title)}</a></li>' for s in self.sections)
        frame = "frame contents" if len(self.sections) > 1 else "frame"
        contents = f'<nav class="toc" aria-label="Contents"><ol>{items}</ol></nav>' if len(self.sections) > 1 else ""
        subtitle = f'<p class="subtitle">{inline(self.subtitle)}</p>' if self.subtitle.strip() else ""
        footer = f"<footer><p>{inline(self.footer)}</p></footer>" if self.footer.strip() else ""
        body = "\n".join(section.html() for section in self.sections)
        css = "\n".join(styles)
        js = "\n".join(element for element, _ in scripts)
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(self.title)}</title>
<style>{css}</style>
</head>
<body id="top">
<a class="skip" href="#content">Skip to the content</a>
<div class="{frame}">
<header><h1>{inline(self.title)}</h1>{subtitle}</header>
{contents}
<main id="content">
{body}
</main>
{footer}
</div>
{js}
</body>
</html>
"""
