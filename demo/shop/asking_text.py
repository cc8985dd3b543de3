"""What people write around a question to the shop: greetings, names, orders. Data only.

In the texts `{n}` is a person's name and `{o}` a number of five digits.
"""

FIRST_NAMES = (
    "Ada", "Ben", "Clara", "Dora", "Emil", "Fay", "Greta", "Hugo", "Ines", "Jonas", "Karin",
    "Lena", "Milo", "Nora", "Otto", "Paula", "Quinn", "Rosa", "Sven", "Tilda", "Ulla", "Vera",
    "Willa", "Yara", "Zeno", "Alma", "Boris", "Celia", "Dario", "Elsa", "Felix", "Gina", "Hanna",
    "Ivo", "Jette", "Kurt", "Lotte", "Max", "Nils", "Oda",
)  # fmt: skip
LAST_NAMES = (
    "Abel", "Birch", "Croft", "Dale", "Ebner", "Frost", "Glenn", "Hale", "Ingram", "Jarvis",
    "Kemp", "Lund", "Marsh", "North", "Olsen", "Pike", "Quill", "Reed", "Stone", "Thorn",
    "Underhill", "Voss", "Webb", "Young", "Zander", "Ames", "Boyle", "Cole", "Drake", "Ellis",
    "Finch", "Grant", "Holt", "Irving", "Joyce", "Keller", "Lang", "Moss", "Nash", "Orr",
)  # fmt: skip

# Each list begins with the empty text: nobody writes all of it.
OPENINGS = (
    "",
    "hi, ",
    "hello, ",
    "hey, ",
    "good morning, ",
    "good afternoon, ",
    "good evening, ",
    "hello there, ",
    "hi everyone, ",
    "excuse me, ",
    "quick question: ",
    "one more thing, ",
    "sorry to bother you, ",
)
INTRODUCTIONS = (
    "",
    "this is {n}. ",
    "{n} here. ",
    "my name is {n}. ",
    "I am {n}. ",
    "it is {n} again. ",
    "{n} speaking. ",
    "I write for {n}. ",
)
OCCASIONS = (
    "",
    "my order is {o}. ",
    "it is about order {o}. ",
    "I have order number {o}. ",
    "my customer number is {o}. ",
    "order {o} came today. ",
    "please add this to order {o}. ",
    "I am shopping for {n}. ",
    "my friend {n} told me about you. ",
    "I was here with {n} last week. ",
    "{n} could not help me. ",
)
CLOSINGS = (
    "",
    " thanks",
    " thank you",
    " many thanks",
    " thanks a lot",
    " thank you so much",
    " cheers",
    " have a nice day",
)
SIGNATURES = ("", ", {n}", ", yours, {n}", ", from {n}", ", order {o}")
