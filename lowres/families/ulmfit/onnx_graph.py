"""An ULMFiT classifier as an ONNX graph that reads a text piece by piece.

Inputs: `ids` (rows, time) int64, `state_0`, `state_1`, ... (rows, width), and the pooling so far: `most` and `total`
(rows, width), `count` (1,), all float32. Outputs: `probabilities` (rows, labels), and under the same names with `next_`
in front what goes in with the next piece. A text begins with zeros, `most` with -inf; the probabilities behind its last
piece are the text's. Texts that are read side by side are of equal length.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowres.errors import DataError
from lowres.families.ulmfit.config import LmConfig, state_widths
from lowres.families.ulmfit.inference import Head

_OPSET, _IR = 17, 8  # of 2022: read by every onnxruntime since 1.12


def write_graph(path: Path, config: LmConfig, weights: Mapping[str, Any], head: Head, operator: str) -> None:
    """Writes the float32 graph. weights: tensors by their names in the encoder; operator: what makes probabilities of
    scores. Raises DataError without onnx.
    """
    try:
        import onnx
    except ImportError as error:
        raise DataError("--onnx needs onnx and onnxruntime: pip install 'lowres[onnx]'") from error
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    onnx.save(_Graph(config, arrays, head, operator).model(), str(path))


class _Graph:
    """Nodes and weights as they are added; every method returns the name of what its node gives."""

    def __init__(self, config: LmConfig, weights: Mapping[str, np.ndarray], head: Head, operator: str):
        self.config, self.weights, self.head, self.operator = config, weights, head, operator
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.outputs: list[tuple[str, int]] = []

    def add(self, kind: str, inputs: Sequence[str], names: Sequence[str] = (), **attributes: Any) -> str:
        """One node with the outputs `names`, else one that is named after its place."""
        from onnx import helper

        names = names or [f"{kind.lower()}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), **attributes))
        return names[0]

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = np.array(value, order="C")  # ascontiguousarray would make a scalar an array
        return name

    def model(self) -> Any:
        from onnx import TensorProto, helper, numpy_helper

        widths = [width for layer in state_widths(self.config) for width in layer]
        x = self.add("Gather", [self.constant("embedding", self.weights["encoder.weight"]), "turned"])
        self.nodes.insert(0, helper.make_node("Transpose", ["ids"], ["turned"], perm=[1, 0]))
        place = 0
        for layer in range(self.config.n_layers):
            states = [f"state_{place + k}" for k in range(len(state_widths(self.config)[layer]))]
            place += len(states)
            x = (self._qrnn if self.config.cell == "qrnn" else self._lstm)(layer, x, states)
        self._classify(x)
        width = self.config.emb_size
        real = TensorProto.FLOAT
        inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "time"])]
        sizes = [*((f"state_{k}", ["rows", w]) for k, w in enumerate(widths)), ("most", ["rows", width])]
        sizes += [("total", ["rows", width]), ("count", [1])]
        inputs += [helper.make_tensor_value_info(name, real, size) for name, size in sizes]
        outputs = [helper.make_tensor_value_info("probabilities", real, ["rows", len(self.head.layers[1][1])])]
        outputs += [helper.make_tensor_value_info(f"next_{name}", real, size) for name, size in sizes]
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, f"ulmfit-{self.config.direction}", inputs, outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)

    def _last(self, x: str, name: str) -> str:
        """The last step of (time, rows, width)."""
        minus = self.constant("minus_one", np.array(-1, np.int64))
        return self.add("Gather", [x, minus], [name], axis=0)

    def _qrnn(self, layer: int, x: str, states: list[str]) -> str:
        linear = f"rnns.{layer}.layers.0.linear"
        if len(states) == 2:
            first = self.add("Unsqueeze", [states[1], self.constant("axis_0", np.array([0], np.int64))])
            longer = self.add("Concat", [first, x], axis=0)
            bounds = [self.constant(n, np.array([v], np.int64)) for n, v in (("from_0", 0), ("to_last", -1))]
            self._last(x, f"next_{states[1]}")
            x = self.add("Concat", [x, self.add("Slice", [longer, *bounds])], axis=-1)
        weight = self.constant(f"weight_{layer}", self.weights[f"{linear}.weight_raw"].T)
        bias = self.constant(f"bias_{layer}", self.weights[f"{linear}.module.bias"])
        gates = self.add("Add", [self.add("MatMul", [x, weight]), bias])
        parts = [f"{gate}_{layer}" for gate in "zfo"]
        hidden = self.config.widths(layer)[1]
        thirds = self.constant(f"thirds_{layer}", np.full(3, hidden, np.int64))
        self.add("Split", [gates, thirds], parts, axis=-1)
        z, f, o = self.add("Tanh", parts[:1]), self.add("Sigmoid", parts[1:2]), self.add("Sigmoid", parts[2:])
        if self.config.zoneout:
            share = self.constant("zoneout", np.array(self.config.zoneout, np.float32))
            rest = self.add("Sub", [self.constant("one", np.array(1, np.float32)), f])
            f = self.add("Add", [f, self.add("Mul", [share, rest])])
        kept = self.add("Sub", [z, self.add("Mul", [z, f])])
        all_c = f"c_{layer}"
        self.add("Scan", [states[0], kept, f], [f"next_{states[0]}", all_c], body=_pooling(), num_scan_inputs=2)
        return self.add("Mul", [all_c, o])

    def _lstm(self, layer: int, x: str, states: list[str]) -> str:
        own = f"rnns.{layer}"

        def gates(name: str) -> np.ndarray:
            """i, f, g, o -> ONNX's i, o, f, c."""
            i, f, g, o = np.split(self.weights[name], 4)
            return np.concatenate([i, o, f, g])

        taken = self.constant(f"input_{layer}", gates(f"{own}.module.weight_ih_l0")[None])
        carried = self.constant(f"recurrent_{layer}", gates(f"{own}.weight_hh_l0_raw")[None])
        biases = [gates(f"{own}.module.bias_ih_l0"), gates(f"{own}.module.bias_hh_l0")]
        bias = self.constant(f"bias_{layer}", np.concatenate(biases)[None])
        axis = self.constant("axis_0", np.array([0], np.int64))
        h, c = (self.add("Unsqueeze", [state, axis]) for state in states)
        names = [f"y_{layer}", f"h_{layer}", f"c_{layer}"]
        self.add("LSTM", [x, taken, carried, bias, "", h, c], names, hidden_size=self.config.widths(layer)[1])
        for name, state in zip(names[1:], states, strict=True):
            self.add("Squeeze", [name, axis], [f"next_{state}"])
        return self.add("Squeeze", [names[0], self.constant("axis_1", np.array([1], np.int64))])

    def _classify(self, x: str) -> None:
        """x: (time, rows, width)."""
        last = self._last(x, "last")
        most = self.add("Max", ["most", self.add("ReduceMax", [x], axes=[0], keepdims=0)], ["next_most"])
        axis = self.constant("axis_0", np.array([0], np.int64))
        total = self.add("Add", ["total", self.add("ReduceSum", [x, axis], keepdims=0)], ["next_total"])
        time = self.add("Cast", [self.add("Shape", ["ids"], start=1, end=2)], to=1)
        count = self.add("Add", ["count", time], ["next_count"])
        scores = self.add("Concat", [last, most, self.add("Div", [total, count])], axis=-1)
        for k, (matrix, offset) in enumerate(self.head.layers):
            weight, shift = matrix.numpy().T, offset.numpy()
            inputs = [scores, self.constant(f"head_{k}", weight), self.constant(f"offset_{k}", shift)]
            scores = self.add("Gemm", inputs)
            scores = self.add("Relu", [scores]) if k == 0 else scores
        self.add(self.operator, [scores], ["probabilities"])  # Softmax is over the last axis


def _pooling() -> Any:
    """The body of a Scan over time: c = f * c + kept, given and carried on."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Mul", ["f", "c"], ["faded"]),
        helper.make_node("Add", ["faded", "kept"], ["c_next"]),
        helper.make_node("Identity", ["c_next"], ["c_all"]),
    ]
    shapes = {
        n: helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("c", "kept", "f", "c_next", "c_all")
    }
    return helper.make_graph(
        nodes, "pooling", [shapes["c"], shapes["kept"], shapes["f"]], [shapes["c_next"], shapes["c_all"]]
    )
