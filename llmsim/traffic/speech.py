"""Words for prompts that so far are only a length: text of about so many tokens, its own for every request.

A live model needs the prompt itself. What the lab's requests carry is a few words (equal for equal questions); here
they get as long as the scenario says.
"""

from __future__ import annotations

from zlib import crc32

from llmsim.types import Message, Request

__all__ = ["TEMPLATE_TOKENS", "spoken"]

#: Frequent English words, each one token with a space before it in the vocabularies of cl100k, o200k and SmolLM2.
_TEXT = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they "
    "which one you were all her she there would their we him been has when who will no more if out so up said "
    "what its about than into them can only other time new some could these two may first then do any like my now "
    "over such our man me even most made after also well many before must years back through much where your way "
    "down should because long each just state those people how too little good world make very year still see own "
    "work men day get here old life both between being under three never know same last another while us off "
    "might great go "
)
_WORDS = tuple(_TEXT.split())
#: What a chat template adds to the words of one message, where nothing else is said: OpenAI's adds 7 (openai-cookbook,
#: "How to count tokens": 3 a message, 1 a role, 3 for the reply). SmolLM2's adds 31: it
#: has a system prompt of its own.
TEMPLATE_TOKENS = 7
#: Tokens of a short text of the lab, such as "[chat] question 12 words 3": about one for three characters.
_CHARACTERS_PER_TOKEN = 3


def spoken(request: Request, template_tokens: int = TEMPLATE_TOKENS) -> tuple[Message, ...]:
    """The request's messages, the last one filled up to ``request.input_tokens`` in all.

    Parameters
    ----------
    request
        A request of the lab.
    template_tokens
        What the model's chat template adds.

    The words are a function of what was there (and of the route), so equal questions stay equal, and different ones
    differ from their first token on: no prompt cache of the server makes them cheaper than the scenario says.

    Examples
    --------
    >>> request = Request("7/0/0", messages=(Message("user", "[chat] question 7"),), input_tokens=40)
    >>> (message,) = spoken(request)
    >>> message.content.startswith("[chat] question 7: "), len(message.content.split())
    (True, 30)
    """
    messages = request.messages or (Message("user", f"question {request.id}"),)
    *before, last = messages
    have = sum(len(message.content) // _CHARACTERS_PER_TOKEN + 1 for message in messages)
    missing = request.input_tokens - have - template_tokens
    if missing <= 0:
        return messages
    start = crc32(last.content.encode())
    step = 1 + 2 * (start >> 16)  # odd, so that texts that begin alike soon differ
    words = (_WORDS[(start + number * step) % len(_WORDS)] for number in range(missing))
    return (*before, Message(last.role, f"{last.content}: {' '.join(words)}"))
