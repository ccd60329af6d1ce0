"""Links from pages of source lead back to the entry, by whichever path it is documented."""

from types import SimpleNamespace

import pytest

import resnest_edu.transfer
from tools.source_links import home, mend

DOCUMENTED = {"resnest_edu.ResNeSt", "resnest_edu.resnest.Trunk", "resnest_edu.resnest.Trunk.stem"}
APP = SimpleNamespace(env=SimpleNamespace(get_domain=lambda name: SimpleNamespace(objects=DOCUMENTED)))


@pytest.mark.parametrize(
    ("anchor", "mended"),
    [
        ("resnest_edu.ResNeSt", "resnest_edu.ResNeSt"),
        ("resnest_edu.Trunk", "resnest_edu.resnest.Trunk"),
        ("resnest_edu.Trunk.stem", "resnest_edu.resnest.Trunk.stem"),
        ("resnest_edu.unknown", "resnest_edu.unknown"),
    ],
)
def test_a_link_back_leads_to_the_documented_name(anchor: str, mended: str) -> None:
    link = '<a class="viewcode-back" href="../../api/network.html#{}">[docs]</a>'
    context = {"body": link.format(anchor)}
    mend(APP, "_modules/resnest_edu/resnest", "page.html", context, None)
    assert context["body"] == link.format(mended)


def test_other_pages_stay_as_they_are() -> None:
    context = {"body": '<a class="viewcode-back" href="x.html#resnest_edu.Trunk">[docs]</a>'}
    before = dict(context)
    mend(APP, "book/index", "page.html", context, None)
    assert context == before


def test_only_constants_have_their_home_where_they_are_documented() -> None:
    assert resnest_edu.transfer.__name__ == home(APP, "resnest_edu.transfer", "IGNORED")
    assert home(APP, "resnest_edu.transfer", "Target") == "resnest_edu.transfer"
    for module, name in (("resnest_edu", "ResNeSt"), ("resnest_edu", "rectify"), (None, "x"), ("resnest_edu", None)):
        assert home(APP, module, name) is None
