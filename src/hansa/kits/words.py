"""Fingerprints in words, to be read over the telephone.

    words = scrypt(SHA-256(data), N = 2¹⁵, r = 8, p = 1), its first 64 bits, as 8 of 256 words
                                                                            (RFC 7914)

Who wants other data with the same words needs a second preimage: 2⁶⁴ attempts on average, of which
each costs scrypt's tenth of a second and 32 MiB. That is more than 10¹⁰ years of a processor, so
that 64 bits are enough here. They would not be for a collision, 2³² attempts, of which who makes
both of two requests himself gains nothing: each is signed for what is in it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache

from ..errors import ProtocolError

COUNT = 8  # words, of 8 bits each
SALT = b"hansa words 1"
COST = 2**15
LIST = """
acid acorn album alley amber anchor angle ankle apple apron arch arrow atlas attic autumn avenue
badge bagel bamboo banjo barn basket beach bell bicycle bird blanket boat bonnet bottle branch
bread brick bridge broom bucket butter cabin cactus camel candle canoe canyon carpet castle cedar
chain cheese cherry chess circle clay cloud clover coat cobra coffee comet copper coral cotton
crab crown cube curtain daisy dance desk diamond dinner doctor dolphin donkey door dragon drum
eagle earth echo elbow eleven engine evening fabric falcon farmer feather fence ferry fiddle
finger fire flute forest fox frog garden garlic ghost giant ginger glass glove goat gold grape
guitar hammer harbour hawk hazel helmet hill honey hotel house igloo iron island ivory jacket
jelly jewel judge jungle kettle king kitchen kite ladder lake lamp lantern lemon letter lion
lobster lunch magnet maple marble market meadow melon metal mirror monkey moon morning motor
mountain museum mustard napkin needle nest night noodle north nurse oak ocean olive onion opera
orange orchid otter owl oyster paddle painter palace panda paper parrot pencil pepper piano pillow
pilot pirate planet plum pocket polar poppy potato puzzle pyramid queen quilt rabbit radio rain
ribbon river robin rocket roof rose ruby saddle sailor salad salmon sandal school seven shadow
shelf ship silver sister snow sofa spider spoon squirrel stamp statue street sugar summer swan
table tailor temple tennis thunder tiger tomato tower trumpet tulip tunnel turtle umbrella uncle
valley velvet village violin volcano wagon wallet walnut water whale wheel willow window winter
wolf yellow zebra
"""
WORDS = tuple(LIST.split())  # 256, no two of which begin with the same four letters


@lru_cache(maxsize=8)  # one federation is said to each of its parties
def words(data: bytes) -> str:
    """The fingerprint of `data`: 64 bits as eight words with hyphens between them."""
    digest = hashlib.sha256(data).digest()
    bits = hashlib.scrypt(digest, salt=SALT, n=COST, r=8, p=1, maxmem=2**26, dklen=COUNT)
    return "-".join(WORDS[byte] for byte in bits)


def check_words(given: str, data: bytes, whose: str) -> None:
    """ProtocolError where the words that somebody was told are not those of `data`.

    Letters may be large, and anything may stand between the words.
    """
    heard = "-".join(re.findall(r"[a-z]+", given.lower()))
    if not hmac.compare_digest(heard, words(data)):
        raise ProtocolError(
            f"The words that were heard are not those of {whose}.",
            "It was changed on its way, or somebody else has made it.",
            "Ask for it again by another way, and do not use this one; if a word was misheard, "
            "have them read again.",
        )
