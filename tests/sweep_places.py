"""Inserts attention at every place of many networks, and takes it out again: what `attention_places` promises.

    python tests/sweep_places.py [timm | torchvision] [--singles N]

Right is a place whose gate ran as often as its module does, whose network went through a forward pass and a backward
pass in training, and which `remove_attention` gave back to the bit. Prints a Markdown table of counts.
"""

import argparse
import copy
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import timm
import torch
import torchvision
from torch import Tensor, nn

from gamlib import insert_attention, remove_attention
from gamlib.models.places import Place, observe

TIMM = """
resnet18 resnext50_32x4d seresnet18 ecaresnet26t res2net50_14w_8s resnest14d regnetx_002 regnety_002 densenet121
convnext_atto convnextv2_atto efficientnet_b0 efficientnetv2_rw_t mobilenetv2_050 mobilenetv3_small_050
mobilenetv4_conv_small mixnet_s mnasnet_small fbnetc_100 spnasnet_100 tinynet_e lcnet_035 ghostnet_050 ghostnetv2_100
hardcorenas_a hrnet_w18_small dla34 dpn48b vgg11 vgg11_bn xception41 legacy_xception inception_v3 inception_v4
inception_resnet_v2 nasnetalarge cspresnet50 cspdarknet53 darknet53 vovnet39a ese_vovnet19b_dw selecsls42b rexnet_100
repvgg_a0 repghostnet_050 mobileone_s0 fastvit_t8 poolformer_s12 metaformer_s12 edgenext_xx_small mobilevit_xxs
mobilevitv2_050 coatnet_nano_rw_224 maxvit_nano_rw_256 levit_128s efficientformer_l1 efficientvit_b0 efficientvit_m0
inception_next_tiny focalnet_tiny_srf caformer_s18 hgnet_tiny hgnetv2_b0 starnet_s1 tresnet_m nfnet_l0 nf_resnet26
botnet26t_256 halonet26t gernet_s skresnet18 resnetv2_50 crossvit_tiny_240 pvt_v2_b0 twins_pcpvt_small
swin_tiny_patch4_window7_224 rdnet_tiny vit_tiny_patch16_224
"""


class Counted(nn.Module):
    """A gate that counts its calls, and knows its width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * torch.sigmoid(self.scale)


def networks(source: str) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Names, and what builds each with random weights."""
    if source == "timm":
        known = set(timm.list_models())
        for name in TIMM.split():
            if name in known:
                yield name, lambda name=name: timm.create_model(name)
        return
    for name in torchvision.models.list_models():
        if not name.startswith(("raft", "quantized")):
            known = ("cnn", "net_res", "ssd", "fcn", "deeplab", "lraspp", "fcos", "retina")  # built on a backbone
            more = {"weights_backbone": None} if any(part in name for part in known) else {}
            more |= {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            yield name, lambda name=name, more=more: torchvision.models.get_model(name, weights=None, **more)


def tensors(output: object) -> list[Tensor]:
    """All tensors of an output, however it is nested."""
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else []
    return [tensor for value in values for tensor in tensors(value)]


def image(network: nn.Module, name: str) -> Tensor:
    """Two images of the size that the network was built for, or of a video."""
    size = getattr(network, "pretrained_cfg", {}).get("input_size")
    if size is None:
        video = any(isinstance(m, nn.Conv3d) for m in network.modules())
        size = (
            (3, 8, 64, 64)
            if video
            else (3, 299, 299)
            if name == "inception_v3"
            else (3, 224, 224)
            if "vit" in name or "swin" in name
            else (3, 96, 96)
        )
    return torch.rand(2, *size)


def outputs(network: nn.Module, x: Tensor) -> list[Tensor]:
    """In eval, without gradients."""
    with torch.no_grad():
        return tensors(network.eval()(x))


def fault(network: nn.Module, places: list[Place], x: Tensor) -> str:
    """What goes wrong with attention at these places; empty where nothing does."""
    detects = hasattr(network, "rpn") or hasattr(network, "anchor_generator")
    state = copy.deepcopy(network.state_dict())
    before = outputs(network, x)
    classes = [type(m) for m in network.modules()]
    try:
        insert_attention(network, Counted, where=places)
        gates = [m for m in network.modules() if isinstance(m, Counted)]
        network.eval()(x)
        calls = Counter(gate.calls for gate in gates)
        if calls != {1: len(places)}:
            return f"gates ran {dict(calls)} times"
        network.train(not detects)  # a detector would want targets in training
        got = [t.float().sum() for t in tensors(network(x)) if t.requires_grad]
        if got:
            torch.stack(got).sum().backward()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        network.zero_grad()
        remove_attention(network)
    if list(network.state_dict()) != list(state) or [type(m) for m in network.modules()] != classes:
        return "removal left other keys or classes"
    network.load_state_dict(state)  # training moved running statistics
    if not all(map(torch.equal, outputs(network, x), before)):
        return "removal left other outputs"
    return ""


def main() -> int:
    """Sweep, print, and return 1 where a place was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="*", default=["timm", "torchvision"])
    parser.add_argument("--singles", type=int, default=500, help="places that are tried one by one")
    arguments = parser.parse_args()
    reasons, single, wrong, right, count = Counter(), [], [], 0, 0
    torch.manual_seed(0)
    for source in arguments.source:
        for name, build in networks(source):
            network = build()
            x = image(network, name)
            try:
                found = observe(network)
            except ValueError as error:
                print(f"{name}: {error}", flush=True)
                reasons["the network refuses all images that were tried"] += 1
                continue
            places = [place for place in found.values() if isinstance(place, Place)]
            reasons.update(kind(place) for place in found.values() if isinstance(place, str))
            count += 1
            bad = fault(network, places, x) if places else ""
            print(f"{name}: {len(places)} of {len(found)} modules {bad}", flush=True)
            wrong += [(name, "all at once", bad)] if bad else []
            right += 0 if bad else len(places)
            single += [(name, build, place) for place in places]
    for name, build, place in random.Random(0).sample(single, min(arguments.singles, len(single))):
        network = build()
        bad = fault(network, [place], image(network, name))
        wrong += [(name, place.name, bad)] if bad else []
    print(f"\n{count} networks: {right:,} places right at once, {len(wrong)} faults")
    for line in wrong:
        print("WRONG", *line)
    for reason, number in reasons.most_common():
        print(f"| refused: {reason} | {number:,} |")
    return int(bool(wrong))


def kind(reason: str) -> str:
    """A reason without names and numbers."""
    for words in (
        "may be fused",
        "whatever they are",
        "is never run",
        "times in a forward pass",
        "not a map",
        "part of an attention",
        "merge its branches",
        "attention of its own",
    ):
        if words in reason:
            return words
    return reason


if __name__ == "__main__":
    sys.exit(main())
