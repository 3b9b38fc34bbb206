"""The rows that scripts/bench prints, and the table they make."""
import statistics


class Row:
    def __init__(self, what, unit, volt, beside=(), goal=None, reached=None, note=""):
        """volt: samples; beside: (name, samples) pairs, the first of which the ratio is of."""
        self.what, self.unit, self.note, self.goal = what, unit, note, goal
        self.volt = self.spread(volt)
        self.beside = [dict(name=n, **self.spread(v)) for n, v in beside if v]
        self.ratio = self.volt["median"] / self.beside[0]["median"] if self.beside else None
        self.reached = None if reached is None else bool(reached(self))

    @staticmethod
    def spread(samples):
        return {"median": statistics.median(samples), "min": min(samples), "max": max(samples),
                "runs": len(samples)}


def number(x):
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


def spread(s, unit=""):
    text = number(s["median"]) + (" " + unit if unit else "")
    return text + (f" ({number(s['min'])}-{number(s['max'])})" if s["runs"] > 1 else "")


def lines(row):
    """The cells of a row; what stands beside it takes further lines."""
    beside = row.beside or [None]
    for i, b in enumerate(beside):
        ratio = row.volt["median"] / b["median"] if b and b["median"] else None
        yield [row.what if i == 0 else "", spread(row.volt, row.unit) if i == 0 else "",
               f"{b['name']}: {spread(b)}" if b else row.note, f"{ratio:.2f}" if ratio is not None else "",
               (row.goal or "") if i == 0 else "",
               {True: "yes", False: "NO", None: ""}[row.reached] if i == 0 else ""]


def table(rows):
    cells = [["what", "Volt (min-max)", "beside it (min-max)", "ratio", "goal", "reached"]]
    for row in rows:
        cells += lines(row)
    widths = [max(len(c[i]) for c in cells) for i in range(len(cells[0]))]
    for c in cells:
        print("  ".join(x.ljust(w) for x, w in zip(c, widths)).rstrip())
