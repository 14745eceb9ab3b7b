"""What the peers' table says: the bars with what was measured, the table as text and as Markdown, and the pictures."""

import html
import json
import statistics

MODELS = ["resnet50", "encoder", "mlp", "layer"]
LABELS = {
    "resnet50": "ResNet-50, calls of 16 images",
    "encoder": "Transformer encoder (4 layers, 768 wide, 12 heads, 128 tokens), calls of 16 sequences",
    "mlp": "MLP 1024-4096-4096-1000, calls of 512 rows",
    "layer": "layer of 16x16 compiled for 16 rows, calls of 4,096 rows",
}
NAMES = {
    "ganglion fp32": "Ganglion, fp32, two callers",
    "ganglion fp32, one caller": "Ganglion, fp32, one caller",
    "ganglion bf16": "Ganglion, bf16, two callers",
    "ganglion bf16, one caller": "Ganglion, bf16, one caller",
    "bare loops": "two bare loops of Ganglion's fp32 program",
    "libtorch traced": "LibTorch, 2 intra-op threads, traced",
    "libtorch frozen": "LibTorch, 2 intra-op threads, frozen",
    "pool traced, 1": "Python thread pool, traced, 1 intra-op thread",
    "pool traced, 2": "Python thread pool, traced, 2 intra-op threads",
    "pool frozen, 1": "Python thread pool, frozen, 1 intra-op thread",
    "pool frozen, 2": "Python thread pool, frozen, 2 intra-op threads",
    "onnx 1": "ONNX Runtime, 1 thread",
    "onnx 2": "ONNX Runtime, 2 threads",
    "onnx 2 sessions": "ONNX Runtime, 2 sessions of 1 thread, each with a caller",
}
PEERS = ("libtorch", "pool", "onnx")


class Figures:
    """The medians of the rounds' ratios of a model."""

    def __init__(self, model):
        self.contenders = model["contenders"]

    def best(self, *beginnings):
        """The contender with the highest median rate of those whose names begin so; None where there is none."""
        names = [name for name in self.contenders if name.startswith(beginnings)]
        return max(names, key=lambda name: self.contenders[name]["rows_per_second"], default=None)

    def ratio(self, ours, peer):
        if ours not in self.contenders or peer not in self.contenders:
            return None
        pairs = zip(self.contenders[ours]["rounds"], self.contenders[peer]["rounds"])
        return statistics.median(a / b for a, b in pairs)


def bars(found):
    """(what, at least, measured or None, remark) of each bar that the run has something to say about. Ours has two callers,
    as bare loops do not wait for each other either; what one gets, whose calls end with the slower core, is a remark."""
    models = {name: Figures(model) for name, model in found["models"].items()}
    result = []

    def add(what, aim, measured, remark=""):
        result.append((what, aim, measured, remark))

    def add_ratio(what, aim, figures, ours, peer, remark=""):
        alone = figures.ratio(f"{ours}, one caller", peer)
        said = "" if alone is None else f"{alone:.3f} with one caller"
        add(what, aim, figures.ratio(ours, peer), "; ".join(filter(None, (remark, said))))

    if net := models.get("resnet50"):
        add_ratio("ResNet-50 fp32: against two bare loops of the same program", 0.98, net, "ganglion fp32",
                  "bare loops")
        for form, aim in (("traced", 1.5), ("frozen", 1.3)):
            add_ratio(f"against one forward on 2 intra-op threads, {form}", aim, net, "ganglion fp32",
                      f"libtorch {form}")
        add_ratio("against ONNX Runtime with 2 threads: ours in bf16", 1.6, net, "ganglion bf16", "onnx 2")
        add_ratio("against ONNX Runtime with 2 threads: ours in fp32", 0.95, net, "ganglion fp32", "onnx 2")
        for form, aim in (("traced", 1.8), ("frozen", 1.3)):
            best = net.best(f"pool {form}")
            add_ratio(f"against the Python thread pool at its best, {form}", aim, net, "ganglion fp32", best,
                      NAMES[best])
    if layer := models.get("layer"):
        if "one_large_request" in found:
            add("16x16 layer, 4,096 rows in one call: against two bare loops that write one output", 0.8,
                found["one_large_request"]["ratio_to_bare_loops"], "benchmark_one_large_request, one caller")
        best = layer.best("pool")
        add_ratio("16x16 layer: against the Python thread pool at its best", 2.5, layer, "ganglion fp32", best,
                  NAMES[best])
    if net := models.get("resnet50"):
        bf16 = net.contenders.get("ganglion bf16", {})
        remark = (f"relative L2 of the logits {bf16['relative_l2']:.2g}, top-1 as the module's for "
                  f"{bf16['top1_agreement']:.0%} of the images: the weights are random, and the default bound is raised"
                  if bf16 else "")
        add("bf16 against fp32: ResNet-50", 1.8, net.ratio("ganglion bf16", "ganglion fp32"), remark)
    if "digits" in found:
        add("bf16: top-1 agreement on the 1,000 test digits", 0.995, found["digits"]["top1_agreement"])
    for name, title in (("encoder", "Transformer encoder"), ("mlp", "MLP")):
        if figures := models.get(name):
            best = figures.best(*PEERS)
            for kind in ("fp32", "bf16"):
                add_ratio(f"{title}, ours in {kind}: against the best of the peers", 1.0, figures, f"ganglion {kind}",
                          best, NAMES[best])
    return result


def verdict(aim, measured):
    if measured is None:
        return "not measured"
    return "met" if measured >= aim else f"missed by {aim - measured:.3f}"


def lines(found):
    """Title, and rows of (name, rate, our fp32 against it, our bf16 against it, choice), of each model."""
    for name, model in found["models"].items():
        figures = Figures(model)
        rows = []
        for contender, about in model["contenders"].items():
            ratios = [figures.ratio(f"ganglion {kind}", contender) for kind in ("fp32", "bf16")]
            rows.append((NAMES[contender], about["rows_per_second"],
                         *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios), about["choice"]))
        yield name, LABELS.get(name, name), rows


def text(found):
    result = ""
    for _, title, rows in lines(found):
        result += f"\n{title}\n{'':48}{'rows/s':>12} {'fp32 x':>7} {'bf16 x':>7}\n"
        for name, rate, fp32, bf16, choice in rows:
            result += f"  {name:<46}{rate:>12.5g} {fp32:>7} {bf16:>7}  {choice}\n"
    result += "\n"
    for what, aim, measured, remark in bars(found):
        shown = "" if measured is None else f"{measured:.3f}"
        result += f"{what:<82} {shown:>7} of {aim:<5} {verdict(aim, measured)}{'; ' + remark if remark else ''}\n"
    return result


def markdown(found):
    machine = found["machine"]
    onnx = f", ONNX Runtime {machine['onnxruntime']}" if "onnxruntime" in machine else ""
    result = (f"{found['date']}, {machine['cpus']} CPUs ({machine['cpu']}), {machine['system']}, LibTorch "
              f"{machine['torch']}{onnx}; `{found['command'].strip()}`: medians of {found['rounds']} rounds of "
              f"{found['seconds']:g} s.\n\n")
    result += "| bar | at least | measured | |\n| --- | --- | --- | --- |\n"
    for what, aim, measured, remark in bars(found):
        shown = "" if measured is None else f"{measured:.3f}"
        said = verdict(aim, measured)
        said = f"**{said}**" if said.startswith("missed") else said
        result += f"| {what} | {aim} | {shown} | {said}{'; ' + remark if remark else ''} |\n"
    for name, title, rows in lines(found):
        result += f"\n![{title}](peers-{name}.svg)\n\n| {title} | rows a second | Ganglion fp32 is | bf16 is | at |\n"
        result += "| --- | --- | --- | --- | --- |\n"
        for contender, rate, fp32, bf16, choice in rows:
            result += f"| {contender} | {rate:.5g} | {fp32} | {bf16} | {choice} |\n"
    return result


def picture(title, rows):
    """Bars of the rates, as SVG."""
    left, right, step, top = 330, 470, 24, 46
    most = max(rate for _, rate, *_ in rows)
    height = top + step * len(rows) + 12
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right + 90}" height="{height}" '
             'font-family="sans-serif" font-size="13">',
             '<rect width="100%" height="100%" fill="#ffffff"/>',
             f'<text x="12" y="26" font-size="15" fill="#222222">{html.escape(title)}: rows a second</text>']
    for i, (name, rate, *_) in enumerate(rows):
        y, width = top + i * step, right * rate / most
        color = "#2a6f97" if name.startswith("Ganglion") else "#a9a9a9"
        parts += [f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" fill="#222222">{html.escape(name)}</text>',
                  f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{step - 7}" fill="{color}"/>',
                  f'<text x="{left + width + 6:.1f}" y="{y + 14}" fill="#222222">{rate:.4g}</text>']
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(found, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "table.md").write_text(markdown(found))
    for name, title, rows in lines(found):
        (folder / f"peers-{name}.svg").write_text(picture(title, rows))
