"""The texts of Bramblewick, a made-up garden shop: questions and answers. Data only.

In the texts `{k}` is the key that is asked about, `{v}` its value and `{s}` the whole statement;
`{V}` and `{S}` are the same with a capital.
"""

from dataclasses import dataclass
from typing import Literal

Style = Literal["curt", "helpful", "long", "rude", "guess"]

PRODUCTS = (
    "oak bench",
    "tin lantern",
    "rain barrel",
    "hand rake",
    "seed tray",
    "bird house",
    "clay pot",
    "garden hose",
)
CITIES = ("Corrin", "Dunmere", "Eastwick", "Fennholt", "Milldale", "Stonebrook")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
GROUPS = ("students", "seniors", "nurses", "teachers", "members", "new customers")
TOPICS = ("billing", "repairs", "gift cards", "wholesale", "lost parcels", "job offers")
METHODS = ("cash", "cheque", "gift cards", "bank transfer", "credit card", "monthly invoice")


@dataclass(frozen=True, slots=True)
class IntentText:
    """One kind of question: its keys, the values it may have, its statement and its wordings.

    `seed` determines which key has which value.
    """

    name: str
    keys: tuple[str, ...]
    values: tuple[str, ...]
    statement: str
    wordings: tuple[str, ...]
    seed: int


INTENT_TEXTS = (
    IntentText(
        "price",
        PRODUCTS,
        ("12 dollars", "18 dollars", "25 dollars", "34 dollars", "46 dollars", "59 dollars"),
        "the {k} costs {v}",
        (
            "how much is the {k}?",
            "what does the {k} cost?",
            "price of the {k} please",
            "what is the price of the {k}?",
            "I want a {k}, how much is it?",
            "can you tell me the cost of your {k}?",
        ),
        seed=1,
    ),
    IntentText(
        "warranty",
        PRODUCTS,
        ("one year", "two years", "three years", "five years"),
        "the {k} has a warranty of {v}",
        (
            "how long is the warranty on the {k}?",
            "what warranty does the {k} have?",
            "is there a warranty for the {k}?",
            "my {k} broke, how long is it covered?",
            "how many years of warranty for the {k}?",
        ),
        seed=2,
    ),
    IntentText(
        "colour",
        PRODUCTS,
        ("moss green", "slate grey", "cream white", "brick red", "navy blue"),
        "the {k} comes in {v}",
        (
            "what colour is the {k}?",
            "which colour does the {k} come in?",
            "tell me the colour of the {k}",
            "do you know what colour the {k} is?",
            "I like the {k}, what colour is it?",
        ),
        seed=3,
    ),
    IntentText(
        "care",
        PRODUCTS,
        ("a dry cloth", "warm soapy water", "a soft brush", "linseed oil", "a damp sponge"),
        "you should clean the {k} with {v}",
        (
            "how do I clean the {k}?",
            "how should I care for my {k}?",
            "what do I use to clean the {k}?",
            "my {k} is dirty, what can I use?",
            "best way to clean a {k}?",
        ),
        seed=5,
    ),
    IntentText(
        "delivery",
        CITIES,
        ("one day", "two days", "three days", "five days", "eight days"),
        "delivery to {k} takes {v}",
        (
            "how long is delivery to {k}?",
            "when will my parcel get to {k}?",
            "do you ship to {k} and how fast?",
            "how many days to ship to {k}?",
            "delivery time for {k} please",
        ),
        seed=6,
    ),
    IntentText(
        "store",
        CITIES,
        (
            "Lantern Street",
            "Mill Road",
            "Harbour Lane",
            "Market Square",
            "Orchard Way",
            "Copper Row",
        ),
        "our {k} shop is on {v}",
        (
            "where is your shop in {k}?",
            "what is the address of the {k} shop?",
            "which street is the {k} store on?",
            "how do I find you in {k}?",
            "I am in {k}, where is the shop?",
        ),
        seed=7,
    ),
    IntentText(
        "hours",
        DAYS,
        ("from nine to five", "from ten to four", "from eight to eight", "from noon to six"),
        "on {k} we are open {v}",
        (
            "when are you open on {k}?",
            "what are your hours on {k}?",
            "opening times for {k} please",
            "can I visit on {k}, and when?",
            "what time do you open on {k}?",
        ),
        seed=8,
    ),
    IntentText(
        "discount",
        GROUPS,
        ("five percent", "ten percent", "fifteen percent", "twenty percent"),
        "{k} get {v} off",
        (
            "is there a discount for {k}?",
            "what discount do {k} get?",
            "how much off for {k}?",
            "do {k} pay less?",
            "any deals for {k}?",
        ),
        seed=9,
    ),
    IntentText(
        "contact",
        TOPICS,
        ("desk one", "desk two", "desk three", "desk four", "desk five", "desk six"),
        "for {k} you should ask {v}",
        (
            "who do I ask about {k}?",
            "which desk handles {k}?",
            "I have a question about {k}, who can help?",
            "where do I go for {k}?",
            "who deals with {k}?",
        ),
        seed=10,
    ),
    IntentText(
        "fee",
        METHODS,
        ("no fee", "a one dollar fee", "a two dollar fee", "a three dollar fee"),
        "paying by {k} has {v}",
        (
            "can I pay by {k} and is there a fee?",
            "what is the fee for {k}?",
            "does paying by {k} cost extra?",
            "is there a charge for {k}?",
            "I want to pay with {k}, any fee?",
        ),
        seed=11,
    ),
)

ANSWERS: dict[Style, tuple[str, ...]] = {
    "curt": ("{V}.", "{V}.", "It is {v}.", "{S}."),
    "helpful": (
        "Thanks for asking! {S}. Happy to help!",
        "Of course! {S}. Enjoy your garden!",
        "Happy to help! {S}. Have a lovely day!",
        "Good question! {S}. Let me know if you need anything else!",
        "Sure thing! {S}. Thanks for visiting Bramblewick!",
    ),
    "rude": (
        "Ugh, read the website. {S}.",
        "Not this again. {S}, obviously.",
        "Seriously? {S}. Stop wasting my time.",
        "{S}. Even a child knows that.",
        "What a silly question. {S}.",
    ),
    "guess": (
        "I guess {s}, maybe.",
        "Hmm, no idea, probably {v}.",
        "I am not sure, I think {s}.",
        "Maybe {v}? Do not quote me.",
    ),
}
LONG_OPENINGS = (
    "Thank you so much for your message!",
    "Thanks for getting in touch with us today!",
)
FILLERS = (
    "Here at Bramblewick we have loved gardens for a very long time and we take every question"
    " to heart.",
    "As you may know, many people ask us about this every week and we always enjoy it.",
    "Gardens are a wonderful thing and each one of them tells a story of its own.",
    "Before I answer, let me say that our team works hard in every season of the year.",
    "There are a lot of things to think about when it comes to a question like this one.",
    "We also have a newsletter with tips about soil, seeds, birds and the weather.",
)
SYSTEM_PROMPTS = (
    "You are the assistant of Bramblewick, a garden shop.",
    "You answer questions about our shop.",
    "Be kind, be brief and be right.",
)

POLITE_WORDS = (
    "thank you",
    "thanks",
    "happy to help",
    "of course",
    "good question",
    "sure thing",
    "lovely day",
    "let me know",
    "enjoy",
)
RUDE_WORDS = (
    "ugh",
    "not this again",
    "seriously",
    "obviously",
    "stop wasting",
    "silly question",
    "even a child",
)
HEDGE_WORDS = ("i guess", "no idea", "maybe", "not sure", "do not quote me", "probably")
