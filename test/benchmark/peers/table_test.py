#!/usr/bin/python3
"""Whether the peers' table works, without the network: table_test.py BUILD. Its figures are not looked at."""

import json
import pathlib
import subprocess
import sys
import tempfile
import xml.dom.minidom

HERE = pathlib.Path(__file__).resolve().parent


def main():
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["/usr/bin/python3", "-B", HERE / "table.py", "--small", "--seconds", "0.05", "--rounds", "2",
             "--build", sys.argv[1], "--work", folder], stdout=subprocess.PIPE, text=True, check=True)
        print(done.stdout)
        found = json.loads(pathlib.Path(folder, "table.json").read_text())
        table = pathlib.Path(folder, "table.md").read_text()
        for name in found["models"]:
            xml.dom.minidom.parse(str(pathlib.Path(folder, f"peers-{name}.svg")))
    wanted = {"ganglion fp32", "bare loops", "libtorch traced", "libtorch frozen",
              "pool traced, 1", "pool traced, 2", "pool frozen, 1", "pool frozen, 2"}
    assert set(found["models"]) == {"small-mlp", "small-encoder"}, list(found["models"])
    for model in found["models"].values():
        contenders = model["contenders"]
        assert wanted <= set(contenders) <= wanted | {"ganglion bf16"}, sorted(contenders)
        for name, about in contenders.items():
            assert len(about["rounds"]) == 2 and min(about["rounds"]) > 0, (name, about)
            assert about["choice"].startswith("batch "), (name, about)
    # What was not measured is said, and is in no table.
    assert "ONNX Runtime is not measured" in done.stdout
    assert "ONNX" not in table, table
    assert "two bare loops" in table and "small-encoder" in table, table


if __name__ == "__main__":
    main()
