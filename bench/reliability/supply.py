"""What the app is made of and what it keeps to itself: weights, code of strangers, licences, known faults, tokens.

    python -m bench.reliability.supply --pip-audit path/to/pip-audit

`pip-audit` looks the locked packages up elsewhere; it is installed apart, and what it could not look up is said. Exit
code 1 where a check found something.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from bench.reliability import ROOT, save, table

CODE = ("app.py", "chartqa_demo", "train", "bench")
UNSAFE_FILES = (".bin", ".ckpt", ".joblib", ".npy", ".pickle", ".pkl", ".pt", ".pth")
TOKENS = {"HF_TOKEN": "hf_canaryCanaryCanaryCanaryCanary", "OPENAI_API_KEY": "sk-canaryCanaryCanaryCanaryCanary"}
PAGES = ("/", "/config", "/gradio_api/info", "/healthz", "/metrics", "/theme.css", "/gradio_api/mcp/schema", "/nothing")
LICENCES = ("Apache", "Open Font License", "Bitstream Vera", "MIT", "apache-2.0", "Permission to use, copy, modify")


def sources() -> Iterator[tuple[Path, ast.AST]]:
    """Every file of ours with its tree."""
    for top in CODE:
        for path in [ROOT / top] if top.endswith(".py") else sorted((ROOT / top).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def unsafe_calls(tree: ast.AST) -> list[str]:
    """Calls that run or unpickle what a stranger wrote, and models read without asking for safetensors."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {name.name.split(".")[0] for name in node.names} | {str(getattr(node, "module", "")).split(".")[0]}
            found += sorted(names & {"pickle", "joblib", "dill", "cloudpickle", "marshal"})
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {one.arg: ast.unparse(one.value) for one in node.keywords}
        if given.get("trust_remote_code", "False") != "False":
            found.append("trust_remote_code")
        if given.get("allow_pickle", "False") != "False":
            found.append("allow_pickle")
        if called == "torch.load" and given.get("weights_only") != "True":
            found.append("torch.load without weights_only")
        model = re.search(r"(AutoModel|ForConditionalGeneration|PeftModel)\w*\.from_pretrained$", called)
        if model and given.get("use_safetensors") != "True" and None not in given:  # None: **options
            found.append(f"{called} without use_safetensors")
        if called in ("eval", "exec", "os.system") or given.get("shell") == "True":
            found.append(called)
    return found


def unlicensed() -> list[str]:
    """Bundled files that are no code, in folders where no README or LICENSES file names a licence."""
    found = []
    for folder in ("chartqa_demo/bundled", "train/pretrain"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_dir() or path.suffix in (".py", ".pyc", ".md", ".jinja"):
                continue
            told = "".join(one.read_text(encoding="utf-8") for one in path.parent.glob("*.md"))
            inside = path.suffix != ".ttf" or f"{path.stem.split('-')[0]}-" in told
            if path.parent != ROOT / "chartqa_demo/bundled" and not (inside and any(one in told for one in LICENCES)):
                found.append(path.relative_to(ROOT).as_posix())
    return found


def audit(command: str | None) -> tuple[list[list[object]], list[str]]:
    """Rows and notes: what pip-audit says of the locked packages."""
    if command is None:
        return [], ["pip-audit was not run."]
    flags = [
        "-r",
        str(ROOT / "requirements.lock"),
        "--no-deps",
        "--disable-pip",
        "-f",
        "json",
        "--progress-spinner",
        "off",
    ]
    done = subprocess.run([command, *flags], capture_output=True, text=True, timeout=600, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = done.stderr.strip().splitlines() or ["nothing"]
        return [], [f"pip-audit reached no service and said: {lines[-1][:200]}"]
    skipped = [one for one in packages if "skip_reason" in one]
    faults = [f"{one['name']} {one['version']}: {bad['id']}" for one in packages for bad in one.get("vulns", ())]
    rows: list[list[object]] = [
        ["Locked packages", len(packages), ""],
        ["Packages that pip-audit looked up", len(packages) - len(skipped), ""],
    ]
    if len(skipped) < len(packages):
        return [*rows, ["Packages with a known fault", len({one.split()[0] for one in faults}), "; ".join(faults)]], []
    return rows, ["The service of pip-audit did not know any package from here, so nothing was audited."]


def told_tokens() -> list[str]:
    """Where tokens of the environment come out of a started page: its answers, its log, the files it leaves."""
    from bench.reliability.requests import started

    found = []
    with started(TOKENS) as server:
        server.ask()
        for address in PAGES:
            answer = httpx.get(server.url + address, trust_env=False)
            found += [f"GET {address}" for token in TOKENS.values() if token in answer.text]
        files = [path for path in server.folder.rglob("*") if path.is_file()]
        for path in files:
            found += [path.name for token in TOKENS.values() if token.encode() in path.read_bytes()]
    return found


def kernels_of_the_hub(environment: Mapping[str, str]) -> str:
    """What a process of ours does with a `kernels` package that is there: "fetched" or "left alone"."""
    program = "import chartqa_demo\ntry:\n    import kernels\nexcept ImportError:\n    print('left alone')"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "kernels.py").write_text("print('fetched')\n", encoding="utf-8")
        given = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", **environment}
        done = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> int:
    """Exit code: 0 nothing was found, 1 something was."""
    parser = argparse.ArgumentParser(prog="python -m bench.reliability.supply", description="Supply and secrets.")
    parser.add_argument("--pip-audit", metavar="COMMAND", help="where pip-audit is installed; without it, none is run")
    flags = parser.parse_args()
    files = list(sources())
    calls = [f"{path.relative_to(ROOT)}: {call}" for path, tree in files for call in unsafe_calls(tree)]
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    unsafe = [name for name in listed if name.endswith(UNSAFE_FILES)]
    checks: dict[str, list[str]] = {
        f"Code of a stranger run, or weights unpickled, in {len(files)} files of ours": calls,
        f"Pickled weights among {len(listed)} files of the repository": unsafe,
        "Bundled fonts, words, charts and weights without a named licence": unlicensed(),
        "Places where a token of the environment came out: pages, log, files of a started app": told_tokens(),
        "Kernels fetched from the Hub without being asked": []
        if kernels_of_the_hub({}) == "left alone"
        else ["kernels"],
    }
    rows, notes = audit(flags.pip_audit)
    found = [[what, len(names), "; ".join(names)] for what, names in checks.items()]
    sheets = [table("Found", ["check", "count", "what"], found)]
    sheets += [table("Known faults of what is installed", ["check", "count", "what"], rows)] if rows else []
    save("supply", "Supply and secrets", "python -m bench.reliability.supply --pip-audit pip-audit", sheets, notes)
    print(json.dumps([found, rows, notes], indent=1))
    return int(any(checks.values()))


if __name__ == "__main__":
    sys.exit(main())
