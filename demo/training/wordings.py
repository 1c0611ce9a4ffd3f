"""The wordings of every family's question.

In each list of four or more the last is kept out of training: the "unseen" wording of the tests.
"""

DESCRIBE = (
    "Describe the {pic}.", "What is in the {pic}?", "What do you see?", "What can you see in this {pic}?",
    "Please describe this {pic} in detail.", "What does the {pic} show?", "Tell me what is in this {pic}.",
    "Describe what you see.", "List everything in the {pic}.", "What is shown here?", "Can you describe the {pic}?",
    "Describe the {pic} to me.", "Give a short description.", "I would like a description of this {pic}.",
    "Give me the contents of the {pic}.", "Say what the {pic} shows.", "What is this a {pic} of?", "What do we see here?",
    "Could you give me a description?", "Write a description of what is in the {pic}.", "Give me a description of the {pic}.",
)  # fmt: skip
COUNT = (
    "How many {what} are there?", "How many {what} are in the {pic}?", "How many {what} do you see?",
    "Count the {what}.", "How many {what} can you see in this {pic}?", "What is the number of {what}?",
    "How many {what} does it show?", "Tell me how many {what} there are.", "How many {what} are shown?", "Please count the {what}.",
    "How many {what} does the {pic} show?",
)  # fmt: skip
COLOUR = (
    "What colour is the {shape}?", "Which colour is the {shape}?", "What is the colour of the {shape}?",
    "What colour does the {shape} have?", "The {shape} is what colour?",
    "Name the colour of the {shape}.", "Of what colour is the {shape}?", "Can you tell me the {shape}'s colour?",
    "Tell me what colour the {shape} is.", "Please name the colour of the {shape} in the {pic}.", "Tell me the colour of the {shape}.",
)  # fmt: skip
SHAPE = (
    "What shape is the {colour} one?", "What is the {colour} shape?", "Which shape is {colour}?",
    "What shape is the {colour} thing?", "What is the {colour} object?", "What shape does the {colour} one have?",
    "Name the {colour} shape.", "Tell me the shape of the {colour} thing.", "Which shape has the colour {colour}?",
)  # fmt: skip
WHERE = (
    "Where is the {what}?", "Where is the {what} in the {pic}?", "Where can I find the {what}?",
    "In which part of the {pic} is the {what}?", "Where do you see the {what}?", "What is the position of the {what}?",
    "Where in the {pic} is the {what}?", "Where can the {what} be found?", "Tell me where the {what} is.",
    "At what place is the {what}?", "Can you see where the {what} is?", "In what place can the {what} be seen?",
    "Where in the {pic} can the {what} be seen?",
)  # fmt: skip
LARGER = (
    "Which is larger, the {a} or the {b}?", "Which one is larger: the {a} or the {b}?", "Which is bigger, the {a} or the {b}?",
    "What is larger, the {a} or the {b}?", "Is the {a} or the {b} larger?", "Is the {a} bigger or the {b}?",
    "Of the two, the {a} and the {b}, which one is larger?", "Of the {a} and the {b}, which is bigger?",
)  # fmt: skip
SMALLER = (
    "Which is smaller, the {a} or the {b}?", "Which one is smaller: the {a} or the {b}?", "Of the {a} and the {b}, which one is smaller?",
    "What is smaller, the {a} or the {b}?", "Is the {a} or the {b} smaller?",
)  # fmt: skip
BIGGEST = (
    "What is the biggest shape?", "Which shape is the largest?", "What is the largest thing in the {pic}?",
    "Which shape is the biggest one?",
)  # fmt: skip
RELATION = (
    "Is the {a} {relation} the {b}?", "Is the {a} {relation} the {b} in the {pic}?",
    "Would you say that the {a} is {relation} the {b}?", "Do you see the {a} {relation} the {b}?",
)  # fmt: skip
WHICH_SIDE = (
    "Which is further {side}, the {a} or the {b}?", "Which one is further {side}: the {a} or the {b}?",
    "What is further {side}, the {a} or the {b}?", "Is the {a} or the {b} further {side}?",
)  # fmt: skip
EXISTS = (
    "Is there {what}?", "Is there {what} in the {pic}?", "Do you see {what}?", "Can you see {what} in the {pic}?",
    "Does the {pic} show {what}?", "Is {what} in the {pic}?", "Can {what} be seen?", "Does the {pic} have {what}?",
    "Is {what} shown here?", "Does it contain {what}?", "Does the {pic} contain {what}?",
)  # fmt: skip
BACKGROUND = (
    "What colour is the background?", "What is the background colour?", "Which colour does the background have?",
    "What colour is behind the shapes?", "Tell me the colour of the background.",
)  # fmt: skip
SIGN = (
    "What does the sign say?", "What is written on the sign?", "Read the sign.", "What text is on the sign?",
    "What does it say on the sign?", "Can you read the sign?", "What is the text in the {pic}?", "Which word is on the sign?",
    "Please read the sign to me.",
)  # fmt: skip
NUMBER = (
    "What number is on the sign?", "Which number is on the sign?", "What number do you see?", "What is the number?",
    "Read the number.", "Which number does the sign show?",
)  # fmt: skip

EVENT = (
    "What happens in the video?", "What happens?", "Describe the video.", "Can you describe the video?", "What does the video show?", "Say what happens.", "What is happening in this video?",
    "What changes in the video?", "Tell me what happens in the video.", "What do you see in the video?",
    "What is going on here?", "What takes place in this video?",
)  # fmt: skip
DIRECTION = (
    "Which direction does the {what} move?", "In which direction does the {what} move?", "Where does the {what} move?",
    "Which way does the {what} go?", "Which way is the {what} moving?", "Where is the {what} going?",
    "In what direction does the {what} go?", "In what direction is the {what} travelling?",
)  # fmt: skip
ORDER = (
    "In which order do the shapes appear?", "In what order do the shapes appear?", "Which shape appears first?",
    "What appears first, and what comes next?", "Tell me the order in which the shapes appear.", "Which shapes appear, and in which order?",
    "Name the shapes in the order of appearance.", "In which order do they appear?", "What is the order in which they appear?",
    "List the shapes as they appear.", "Say which shape comes first and which come later.",
    "List the shapes in the order in which they appear.",
)  # fmt: skip
DOES_MOVE = (
    "Does the {what} move?", "Is the {what} moving?", "Does the {what} move in the video?", "Can you see the {what} move?", "Is there any motion of the {what}?",
)  # fmt: skip
VIDEO_EXISTS = (
    "Is there {what} in the video?", "Do you see {what}?", "Does the video show {what}?", "Can {what} be seen?", "Can you see {what} in the video?",
)  # fmt: skip
