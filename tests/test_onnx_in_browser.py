"""An exported student in a real browser, by onnxruntime-web, beside torch."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.families import EVERY_FAMILY
from tests.written import Written, data_for

WEB = Path(__file__).resolve().parents[1] / ".ci" / "web"
RUNTIME = WEB / "node_modules" / "onnxruntime-web" / "dist"
PARTS = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
PAGE = "<!doctype html><meta charset=utf-8><title>student</title><link rel=icon href=data:,>"
RUN = """async ({file, type, shape, values}) => {
  const ort = await import('/ort.wasm.bundle.min.mjs');
  ort.env.wasm.numThreads = 1;
  const kinds = {uint8: Uint8Array, float32: Float32Array, int64: BigInt64Array};
  const numbers = kinds[type].from(type === 'int64' ? values.map(BigInt) : values);
  const session = await ort.InferenceSession.create(file, {executionProviders: ['wasm']});
  const output = (await session.run({input: new ort.Tensor(type, numbers, shape)}))[session.outputNames[0]];
  return {name: session.outputNames[0], shape: output.dims, values: Array.from(output.data)};
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def runtime() -> Path:
    if not RUNTIME.is_dir():
        pytest.skip("onnxruntime-web is not installed; npm install --prefix .ci/web --no-package-lock brings it")
    return RUNTIME


@pytest.mark.parametrize("family", ["ConvNet", "TextTransformer"])
def test_a_browser_gives_the_students_own_logits(runtime, chromium, family, tmp_path, tiny_data):
    data = data_for(family, tiny_data)
    written = Written(tmp_path, EVERY_FAMILY[family](width=4, depth=2), data, ("onnx", "int8"), normalize=True)
    for part in PARTS:
        shutil.copy(runtime / part, written.folder)
    (written.folder / "index.html").write_text(PAGE)
    with torch.no_grad():
        own = written.parcel.module(data.normalize(data.test.inputs)).numpy()
    inputs = written.parcel.inputs(data.test.inputs)
    given = {
        "type": str(inputs.dtype).removeprefix("torch."),
        "shape": list(inputs.shape),
        "values": inputs.flatten().tolist(),
    }
    with served(written.folder) as address:
        tab = chromium.new_page()
        asked, wrong = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        tab.goto(address)
        exact, quantized = (tab.evaluate(RUN, {"file": f"/student{kind}.onnx", **given}) for kind in ("", ".int8"))
        tab.close()
    logits = np.array(exact["values"]).reshape(exact["shape"])
    assert exact["name"] == "logits"
    np.testing.assert_allclose(logits, own, atol=1e-4)
    assert (logits.argmax(1) == own.argmax(1)).all()
    assert (np.array(quantized["values"]).reshape(own.shape).argmax(1) == own.argmax(1)).mean() > 0.8
    assert wrong == []
    assert all(url.startswith((address, "data:", "blob:")) for url in asked), asked
