"""The picture of docs/performance.md: what is left of the throughput, as bars with their spread."""

from xml.sax.saxutils import escape

LEFT, WIDTH, BAR, GAP, TOP = 330, 440, 14, 8, 46
COLOURS = {"agent": "#2f6fb2", "discard": "#7aa6d1", "floor": "#b9c7d6"}
INK, GRID = "#24292f", "#d0d7de"


def text(x, y, words, anchor="start", size=12, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{INK}">'
            f"{escape(words)}</text>")


def rectangle(x, y, width, height, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" fill="{colour}"/>'


def line(x1, y1, x2, y2, colour=GRID, width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def bars_of(data):
    """(group, label, kind, ratio) in the order of the page: first what most workloads have, then workload by workload."""
    names = [row["variant"] for row in data["results"]]
    main = max(names, key=names.count)
    titles = data["titles"]
    kind = lambda row: row["variant"].split("-")[0] if row["variant"].split("-")[0] in COLOURS else "agent"  # noqa: E731
    for row in data["results"]:
        if row["variant"] == main:
            yield (titles["variants"][main], titles["workloads"][row["workload"]], kind(row), row["summary"]["throughput"]["ratio"])
    for workload in dict.fromkeys(row["workload"] for row in data["results"]):
        rows = [row for row in data["results"] if row["workload"] == workload]
        for row in rows if len(rows) > 1 else []:
            yield titles["workloads"][workload], titles["variants"][row["variant"]], kind(row), row["summary"]["throughput"]["ratio"]


def throughput(data):
    bars = list(bars_of(data))
    largest = max([1.0, *(ratio["max"] for *_, ratio in bars)])
    at = lambda value: LEFT + WIDTH * value / largest  # noqa: E731
    body, y, group = [], TOP, None
    for name, label, kind, ratio in bars:
        if name != group:
            group = name
            y += 14
            body.append(text(12, y + BAR - 3, name, size=13, weight="bold"))
            y += BAR + GAP
        body.append(text(LEFT - 10, y + BAR - 3, label, "end"))
        body.append(rectangle(LEFT, y, at(ratio["median"]) - LEFT, BAR, COLOURS[kind]))
        middle = y + BAR / 2
        body.append(line(at(ratio["min"]), middle, at(ratio["max"]), middle, INK))
        for end in ("min", "max"):
            body.append(line(at(ratio[end]), middle - 3, at(ratio[end]), middle + 3, INK))
        body.append(text(LEFT + WIDTH + 12, y + BAR - 3, f"{100 * ratio['median']:.1f} %"))
        y += BAR + GAP
    height = y + 16
    grid = [part for tenth in range(0, 11, 2)
            for part in (line(at(tenth / 10), TOP, at(tenth / 10), height - 14, INK if tenth == 10 else GRID),
                         text(at(tenth / 10), TOP - 6, f"{10 * tenth} %", "middle", 11))]
    head = text(12, 20, "Throughput that is left, median of pairs; lines from the smallest to the largest pair", size=13)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 80}" height="{height}" '
            f'viewBox="0 0 {LEFT + WIDTH + 80} {height}" font-family="sans-serif">\n'
            + "\n".join([rectangle(0, 0, LEFT + WIDTH + 80, height, "#ffffff"), head, *grid, *body]) + "\n</svg>\n")
