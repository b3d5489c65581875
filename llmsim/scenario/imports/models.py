"""Which profile comes closest to a model that a gateway's configuration names."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import NamedTuple

from llmsim.providers.profiles import Profile, profile_names
from llmsim.scenario.imports.plan import Said
from llmsim.scenario.profiles import read_profile

__all__ = ["Model", "dialect_of", "known_model", "model_of", "provider_name", "simulated"]

#: What LiteLLM and Portkey call a vendor → (what its profiles begin with, its dialect).
_VENDORS = {
    "openai": ("openai", "openai"),
    "text-completion-openai": ("openai", "openai"),
    "azure": ("azure", "azure"),
    "azure-openai": ("azure", "azure"),
    "azure-ai": ("azure", "azure"),
    "anthropic": ("anthropic", "anthropic"),
    "bedrock": ("bedrock", "bedrock"),
    "bedrock-converse": ("bedrock", "bedrock"),
    "vertex-ai": ("google", "gemini"),
    "vertex": ("google", "gemini"),
    "gemini": ("google", "gemini"),
    "google": ("google", "gemini"),
    "groq": ("groq", "groq"),
    "hosted-vllm": ("vllm", "vllm"),
    "vllm": ("vllm", "vllm"),
    "together-ai": ("together", "generic"),
    "fireworks-ai": ("fireworks", "generic"),
    "anyscale": ("anyscale", "generic"),
}
#: Vendors of models that are named without one.
_FAMILIES = {"gpt": "openai", "claude": "anthropic", "gemini": "gemini"}
_FAMILY = re.compile(r"(?<![a-z])(?:gpt|claude|gemini|llama)")
#: What the same vendor is worth against the likeness of two names (0 to 1). Chosen: less than another size of the
#: model, so that gpt-4o at Azure is OpenAI's gpt-4o rather than Azure's gpt-4; but an open model is as fast as whoever
#: runs it.
_SAME_VENDOR, _SAME_HOST = 0.05, 0.4
#: Whose model it is decides where nobody says who runs it. Chosen: as good as nothing, but more than that.
_MAKER = 0.01
_MAKERS = {"gpt": "openai", "claude": "anthropic", "gemini": "google"}
#: Below, two names of a family have little more than the family in common. Chosen.
_LIKE = 0.5


class Model(NamedTuple):
    """A model that a configuration names."""

    vendor: str  #: as in `_VENDORS`; "" where it is not known
    name: str  #: without vendor; "" where it is not said


class Profiled(NamedTuple):
    """What a simulated provider takes from a profile."""

    settings: dict[str, Said]
    loss: str  #: what is not exact about it; "" where it is


def model_of(text: str, vendor: str = "") -> Model:
    """Vendor and name of a model as LiteLLM writes it.

    Examples
    --------
    >>> model_of("azure/gpt-4o-eastus"), model_of("claude-3-haiku-20240307")
    (Model(vendor='azure', name='gpt-4o-eastus'), Model(vendor='anthropic', name='claude-3-haiku-20240307'))
    >>> model_of("bedrock/arn:aws:bedrock:eu-west-1:123:foo"), model_of("openai/*")
    (Model(vendor='bedrock', name=''), Model(vendor='openai', name=''))
    """
    first, slash, rest = text.partition("/")
    own = known_vendor(first) if slash else ""
    name = rest if own or (slash and not vendor) else text
    vendor = own or vendor
    if not re.fullmatch(r"[\w.:/@+-]+", name) or "://" in name or "arn:" in name:
        name = ""  # a wildcard, an address or an account's resource
    if not vendor and not slash:
        family = _FAMILY.search(name)
        vendor = _FAMILIES.get(family[0], "") if family and name.startswith(family[0]) else ""
    return Model(vendor, name)


def known_vendor(text: str) -> str:
    """A vendor by one of its names, "" if there is none of that name."""
    word = text.lower().replace("_", "-")
    return word if word in _VENDORS else ""


def vendor_in(text: str) -> str:
    """The vendor that somebody's own name for an account speaks of (``@openai-prod``), "" if none."""
    words = re.split(r"[^a-z0-9]+", text.lower())
    for name in sorted(_VENDORS, key=len, reverse=True):
        if set(name.split("-")) <= set(words):
            return name
    return ""


def dialect_of(vendor: str) -> str:
    """How a vendor counts its limits."""
    return _VENDORS[vendor][1] if vendor in _VENDORS else "generic"


def provider_name(model: Model, taken: set[str], otherwise: str) -> str:
    """A name for a provider of this model that nobody has yet.

    Examples
    --------
    >>> provider_name(Model("azure", "gpt-4o"), {"azure-gpt-4o"}, "chat")
    'azure-gpt-4o-2'
    """
    words = f"{model.vendor}-{model.name}" if model.name else f"{model.vendor}-{otherwise}".strip("-")
    base = re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.") or "provider"
    base = f"{base}-model" if base == "cache" else base  # which is what tables call answers without a provider
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    taken.add(name)
    return name


def known_model(name: str) -> str:
    """A model's name without what says nothing about its speed: dates, versions, regions, and whose it is.

    Examples
    --------
    >>> known_model("us.anthropic.claude-3-haiku-20240307-v1:0"), known_model("gpt-35-turbo-1106")
    ('claude-3-haiku', 'gpt-3.5-turbo')
    """
    word = name.lower().rsplit("/", 1)[-1].replace("_", "-")
    word = re.sub(r"^(?:[a-z]{2,6}\.)?(?:anthropic|meta|mistral|amazon|cohere)\.", "", word)
    word = re.sub(r"^(?:meta-)", "", word).replace("gpt-35", "gpt-3.5")
    word = re.sub(r"@.*$|-v\d+(?::\d+)?$|:\d+$", "", word)
    word = re.sub(r"-(?:20\d{6}|20\d\d-\d\d-\d\d|\d{4}|preview|latest|chat-hf|instruct)(?=-|$)", "", word)
    return re.sub(r"(?<=\d)-(?=\d)", ".", word).replace("llama-v3", "llama-3")


def simulated(model: Model) -> Profiled:
    """The settings that stand for a model, and how well they do."""
    dialect = dialect_of(model.vendor)
    found, exact = _nearest(model)
    if found is None:
        settings = {"model": Said(model.name, "as it is named there")} if model.name else {}
        if dialect != "generic":
            settings["dialect"] = Said(dialect, f"how {model.vendor} counts limits and words errors")
        who = model.name or f"a model that is not named ({model.vendor or 'vendor unknown'})"
        return Profiled(settings, f"no profile is near {who}: llmsim's own ttft and inter_token hold; set them")
    settings, loss = {}, ""
    if exact:
        settings["profile"] = Said(found.name, f"this model, measured {found.date}")
    else:
        settings["profile"] = Said(found.name, f"the nearest profile; there is none of {model.name}")
        settings["model"] = Said(model.name, "as it is named there")
        loss = f"there is no profile of {model.name}: speed and price are those of {found.name}"
    own = found.figures["dialect"].value if "dialect" in found.figures else "generic"
    if dialect not in (own, "generic"):
        settings["dialect"] = Said(dialect, f"how {model.vendor} counts limits and words errors")
        loss = loss or f"measured at another vendor of the model ({found.name})"
    elif not model.vendor:
        loss = loss or f"who runs it is not known here: measured as {found.name}"
    return Profiled(settings, loss)


def _nearest(model: Model) -> tuple[Profile | None, bool]:
    wanted = known_model(model.name)
    family = _FAMILY.search(wanted)
    if family is None:
        return None, False
    prefix = _VENDORS[model.vendor][0] if model.vendor in _VENDORS else ""
    best: tuple[float, str] = (0.0, "")
    for name in profile_names():
        profile = read_profile(name)
        vendor, _, rest = name.partition("-")
        # A profile's own name and its model's may differ in spelling (llama-v3-70b-instruct).
        names = {known_model(str(profile.figures["model"].value)), known_model(rest)}
        if not any(family[0] in one for one in names):
            continue
        like = max(_likeness(wanted, one) for one in names)
        worth = _SAME_HOST if family[0] == "llama" else _SAME_VENDOR
        like += worth * (vendor == prefix) + _MAKER * (vendor == _MAKERS.get(family[0]))
        best = max(best, (like, name), key=lambda pair: pair[0])
    if best[0] < _LIKE:
        return None, False
    profile = read_profile(best[1])
    exact = wanted in {known_model(str(profile.figures["model"].value)), known_model(best[1].partition("-")[2])}
    return profile, exact


def _likeness(wanted: str, one: str) -> float:
    """How alike two names are; one with something added (``gpt-4o-eastus``) is nearly the same, the longest most."""
    if f"-{one}-" in f"-{wanted}-":
        return 1.0 - 0.1 * (1 - len(one) / len(wanted))
    return 0.9 * SequenceMatcher(None, wanted, one).ratio()
