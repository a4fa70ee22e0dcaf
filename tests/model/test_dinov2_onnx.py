"""The encoder read from an ONNX file is the encoder in the ONNX file: same hidden states, block by block."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sensorium.errors import SensoriumError
from sensorium.model.dinov2_onnx import convert_dinov2_onnx
from sensorium.model.vision import VisionConfig, vision_folder
from sensorium.parts import locate

BLOCKS = (8, 9, 11)
OUTPUT = "/backbone/encoder/layer.{}/Add_1_output_0"


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """Two pictures, normalised: smooth waves, and noise."""
    y, x = np.mgrid[0:224, 0:224] / 224
    waves = np.stack([np.sin(7 * x + 3 * y), np.cos(9 * y), np.sin(20 * x * y)])
    noise = np.random.default_rng(0).normal(size=(3, 224, 224))
    return torch.from_numpy(np.stack([waves, noise]).astype(np.float32))


@pytest.fixture(scope="module")
def expected(pixels) -> dict[int, torch.Tensor]:
    """Hidden states after each block as onnxruntime computes them."""
    import onnx
    import onnxruntime

    model = onnx.load(str(locate("dinov2-small")))
    for block in BLOCKS:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(OUTPUT.format(block)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run([OUTPUT.format(block) for block in BLOCKS], {"input_image": pixels.numpy()})
    return {block: torch.from_numpy(array) for block, array in zip(BLOCKS, found, strict=True)}


@pytest.mark.parametrize("block", BLOCKS)
def test_hidden_states_equal_the_onnx_output_of_the_same_block(block, pixels, expected):
    encoder = VisionConfig(part="dinov2-small", layer=block + 1).build()
    with torch.inference_mode():
        states = encoder.stem_states(pixels)
    assert states.shape == (2, 257, 384)
    torch.testing.assert_close(states, expected[block], atol=1e-4, rtol=1e-4)


def test_the_trainable_tail_continues_the_stem_as_the_whole_does(pixels, expected):
    """The default recipe's cut: stem up to block 9, blocks 10 and 11 in the tail."""
    encoder = VisionConfig(part="dinov2-small", layer=10, tail_blocks=2).build()
    with torch.inference_mode():
        features = encoder(pixels)
    assert encoder.grid == (16, 16)
    torch.testing.assert_close(features, expected[11][:, 1:], atol=1e-4, rtol=1e-4)


def test_the_position_table_is_the_full_one(pixels):
    """37x37 patches and the class: pictures of other sizes interpolate from what was trained."""
    weights = load_file(vision_folder("dinov2-small") / "model.safetensors")
    assert weights["embeddings.position_embeddings"].shape == (1, 1 + 37 * 37, 384)
    encoder = VisionConfig(part="dinov2-small", layer=1, image_size=448).build()
    with torch.inference_mode():
        assert encoder(torch.zeros(1, 3, 448, 448)).shape == (1, 32 * 32, 384)


def test_another_onnx_file_is_refused(tmp_path):
    import onnx

    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y])), tmp_path / "other.onnx")
    with pytest.raises(SensoriumError, match="not a DINOv2 export"):
        convert_dinov2_onnx(tmp_path / "other.onnx", tmp_path)


def test_a_language_models_file_is_refused():
    with pytest.raises(SensoriumError, match=r"is not an ONNX file.* `vision` and `language` are not exchanged"):
        vision_folder("smollm2-135m-instruct")
