"""How questions and whole-sentence answers are worded.

Fields: {m} the measure, {c} and {d} category names, {s} and {r} series names, {at} and {at2} a cell in words ("in 2015
for Brazil"), {of} a series in words with a space before it, or nothing; {noun}, {plural} what categories are called;
{kind} the marks' name (bar, line, slice), {point} the same for one value of a line; {w} a chosen adjective; {v} a
number as said, {n} as written; {ctx} place and time, or nothing; {open} the measure's own opening ("How much revenue
did Nike generate"); {x}: as used below.
"""

VALUE = {
    "time": (
        "What was the {m} {at}{ctx}?",
        "What was the {m}{ctx} {at}?",
        "{open} {at}{ctx}?",
        "{open}{ctx} {at}?",
        "{open}{ctx} {at}?",
        "What is the {m} {at}?",
        "In {c}, what was the {m}{of}?",
        "As of {c}, what was the {m}{of}?",
        "What is the value {at}?",
        "What was the value {at}?",
        "How much was the {m} {at}?",
        "What did the {m} amount to {at}?",
        "What was the {m} reported {at}{ctx}?",
    ),
    "place": (
        "What was the {m} {at}{ctx}?",
        "What is the {m} {at}?",
        "{open} {at}{ctx}?",
        "{open} {at}{ctx}?",
        "What was {c}'s {m}{of}{ctx}?",
        "What is {c}'s {m}{of}?",
        "What is the value {at}?",
        "How high was the {m} {at}{ctx}?",
        "What was the estimated {m} {at}{ctx}?",
    ),
    "owner": (
        "What was the {m} {at}{ctx}?",
        "What was {c}'s {m}{of}{ctx}?",
        "{open}{of}{ctx}?",
        "What is the {m} {at}?",
        "What is {c}'s {m}{of}?",
        "What {m} did {c} have{of}{ctx}?",
        "What is the value {at}?",
        "What was the {m} of {c}{of}?",
    ),
    "thing": (
        "What was the {m} {at}{ctx}?",
        "What is the {m} {at}?",
        "{open} {at}{ctx}?",
        "What was the {m} of {c}{of}{ctx}?",
        "What is the value {at}?",
        "What did {c} contribute{of}?",
        "How much came from {c}{of}{ctx}?",
        "What is the value of {c}{of}?",
    ),
    "group": (
        "What was the {m} {at}{ctx}?",
        "What is the {m} {at}?",
        "{open} {at}{ctx}?",
        "What is the value {at}?",
        "What was the {m} among {c}{of}?",
        "What is the {m} of the group {c}{of}?",
    ),
    "answer": (
        "What was the {m} {at}{ctx}?",
        "What is the {m} {at}?",
        "What percentage of respondents said {c}{of}?",
        "What share of respondents chose {c}{of}{ctx}?",
        "What percentage of respondents mentioned {c}{of}{ctx}?",
        "What is the value {at}?",
        "How many percent of respondents named {c}{of}?",
    ),
}
VALUE_HUMAN = (
    "What's the value of {c}{of}?",
    "What is the value of {c}{of}?",
    "What is the value shown for {c}{of}?",
    "How much is {c}{of}?",
    "What does the chart show for {c}{of}?",
    "what is the {m} {at}",
    "Find the value of {c}{of}.",
    "What value does {c} have{of}?",
    "What's the {m} {at}?",
)
VALUE_SENTENCE = (
    "The {m} {at} was {v}.",
    "The {m} {at} is {v}.",
    "The value {for_it} is {v}.",
    "It was {v} {for_it}.",
    "The chart shows {v} {for_it}.",
)
VALUE_COLOUR = (
    "What is the value of the {x} {kind} in {c}?",
    "What's the value of the {x} {kind} in {c}?",
    "What is the value of {x} {kind} in {c}?",
    "How much is the {x} {kind} in {c}?",
)
VALUE_SLICE = (
    "What is the value of the {x} {kind}?",
    "What's the value of the {x} {kind}?",
    "How much does the {x} {kind} show?",
    "What value does the {x} {kind} represent?",
)
PLACE = (
    "What is the value of the {w} {kind}?",
    "What's the value of {w} {kind}?",
    "What is the value of the {w} {kind}{of}?",
)

INVERSE = {
    "time": (
        "In which {noun} was the {m} {v}{of}?",
        "In which {noun} the value{of} is {n}?",
        "When was the {m}{of} {v}?",
        "Which {noun} had {am} of {v}{of}?",
        "In what {noun} did the {m}{of} reach {v}?",
    ),
    "": (
        "Which {noun} has the value {n}{of}?",
        "Which {noun} had {am} of {v}{of}?",
        "Which {noun} has a value of {n}{of}?",
        "What {noun} had {v}{of}?",
        "Which {noun} accounted for {v}{of}?",
        "Which {noun} is at {v}{of}?",
    ),
}
INVERSE_SENTENCE = ("{c} had a value of {v}{of}.", "It was {v}{of} in the case of {c}.", "{c}, with {v}{of}.")

EXTREME = {
    "time": (
        "In which {noun} was the {m}{of} the {w}?",
        "Which {noun} had the {w} {m}{of}?",
        "What {noun} had the {w} {m}{of}{ctx}?",
        "When was the {m}{of} the {w}?",
        "In what {noun} was the {w} {m}{of} recorded?",
        "Which {noun} recorded the {w} value{of}?",
    ),
    "": (
        "Which {noun} had the {w} {m}{of}?",
        "Which {noun} has the {w} {m}{of}{ctx}?",
        "What {noun} had the {w} {m}{of}{ctx}?",
        "Which {noun} has the {w} value{of}?",
        "What was the {noun} with the {w} {m}{of}?",
        "What was the {top} {noun}{of}{ctx}?",
        "Which {noun} ranked {first}{of}?",
    ),
}
EXTREME_HUMAN = {
    "time": (
        "Which {noun} shows the {w} {point}{of}?",
        "When did the {m}{of} reach its {peak}?",
        "Which {noun} has the {w} value{of}?",
        "When was it {w}{of}?",
    ),
    "": (
        "Which {noun} has the {w} {point}{of}?",
        "Which {noun} shows the {w} value{of}?",
        "What does the {w} {point}{of} represent?",
        "Which {noun} is {w}{of}?",
        "which {noun} has the {w} value{of}",
    ),
}
# The first of each needs no number.
EXTREME_SENTENCE = (
    "The {noun} with the {w} {m}{of} is {c}.",
    "{c} had the {w} {m}{of}, at {v}.",
    "{c} has the {w} value{of}: {v}.",
)
LARGEST, SMALLEST = ("highest", "largest", "greatest", "maximum", "most"), ("lowest", "smallest", "least", "minimum")
BIG_ADJECTIVES, SMALL_ADJECTIVES = ("highest", "largest", "biggest"), ("lowest", "smallest")
LIMIT = (
    "What was the {w} {m}{of}?",
    "What is the {w} value{of}?",
    "What was the {w} {m}{of}{ctx}?",
    "What is the {w} {m}{of}?",
)
LIMIT_HUMAN = (
    "What is the value of the {w} {point}{of}?",
    "What's the value of {w} {point}{of}?",
    "What is the {w} value{of} in the chart?",
    "What's the {peak} value{of}?",
)
LIMIT_SENTENCE = ("The {w} value{of} is {v}, for {c}.", "The {w} {m}{of} is {v}.")
RANK = (
    "Which {noun} had the {w} {m}{of}?",
    "What {noun} has the {w} value{of}?",
    "Which {noun} was ranked {w}{of}?",
    "What was the {noun} with the {w} {m}{of}?",
)
RANK_SENTENCE = ("The {noun} with the {w} value{of} is {c}.", "{c} had the {w} {m}{of}, at {v}.")

COUNT = (
    "How many {plural} are shown in the chart?",
    "How many {plural} are there?",
    "How many {plural} are represented on this graph?",
    "How many {plural} are displayed?",
    "How many different {plural} are shown on the graph?",
    "How many {plural} have been considered?",
    "Count the {plural} in the chart.",
)
COUNT_MARKS = (
    "How many {kind}s are there in the chart?",
    "How many {kind}s are shown?",
    "How many {kind}s are there in the graph?",
    "Count the {kind}s in the chart.",
)
COUNT_COLOURS = (
    "How many colors are used in the graph?",
    "How many colors are used to represent the {kind}s?",
    "How many different colors are in the chart?",
)
COUNT_SERIES = (
    "How many items are in the legend?",
    "How many series are shown?",
    "How many groups does the legend have?",
    "How many categories does the legend show?",
)
COLOUR = (
    "What is the color of {x}?",
    "What color represents {x}?",
    "Which color is used for {x}?",
    "What's the color of the {kind} representing {x}?",
    "Which color shows {x}?",
)
WHICH_COLOUR = (
    "What does the {w} {kind} represent?",
    "What does the {w} color represent?",
    "Which {noun} is represented by the {w} color?",
    "What does {w} {kind} indicate?",
    "Which {noun} is shown by the {w} {kind}?",
)
COMPARE = (
    "Is the {m} {at} {w} than {at2}?",
    "Is the value {at} {w} than {at2}?",
    "Is {c} {w} than {d}{of}?",
    "Is the value of {c} {w} than that of {d}{of}?",
    "Was the {m} {w} {at} than {at2}?",
)
COMPARE_SENTENCE = ("{yes}, {c} has {v} and {d} has {u}{of}.", "{yes}: it is {v} for {c} and {u} for {d}{of}.")
WHICH_OF = (
    "Which one is {w}{of}, {c} or {d}?",
    "Between {c} and {d}, which has the {w} value{of}?",
    "Which has the {w} {m}{of}, {c} or {d}?",
)
SUM_COMPARE = (
    "Is the sum of the two smallest {point}s greater than the largest {point}?",
    "Does the sum of the two smallest values exceed the largest value?",
    "Is the largest value more than the sum of the two smallest values?",
)
DIFFERENCE = (
    "What is the difference between {c} and {d}{of}?",
    "What is the difference in the {m} between {c} and {d}{of}?",
    "What was the difference between the {m} {at} and {at2}?",
    "How much {w} is {c} than {d}{of}?",
    "What's the difference in value between {c} and {d}{of}?",
    "By how much does the {m} of {c} differ from that of {d}{of}?",
)
DIFFERENCE_SERIES = (
    "What is the difference between {s} and {r} {at}?",
    "What's the gap between {s} and {r} {at}?",
    "How much {w} is {s} than {r} {at}?",
    "What is the difference in value between {s} and {r} {at}?",
)
CHANGE = (
    "By how much did the {m}{of} {w} from {c} to {d}?",
    "How much did the {m}{of} {w} between {c} and {d}?",
    "How much did it {w}{of} from {c} to {d}?",
    "What was the {w} in the {m}{of} from {c} to {d}?",
)
SUM = (
    "What is the sum of {c} and {d}{of}?",
    "What is the total of {c} and {d}{of}?",
    "What do {c} and {d} add up to{of}?",
    "What is the {m} of {c} and {d} combined{of}?",
    "What is the sum of the values of {c} and {d}{of}?",
    "Add the values of {c} and {d}{of}.",
)
SUM_SERIES = (
    "What is the sum of {s} and {r} {at}?",
    "What is the total of {s} and {r} {at}?",
    "What do {s} and {r} add up to {at}?",
)
SUM_ENDS = (
    "What is the sum of the two {w} {point}s{of}?",
    "Find the two {w} values{of} and add them.",
    "What is the total of the two {w} values{of}?",
    "What is the sum of the {w} two values{of}?",
)
TOTAL = (
    "What is the sum of all the values{of}?",
    "What is the total of all {point}s{of}?",
    "What do all the {plural} add up to{of}?",
    "What is the total {m}{of}?",
)
RATIO = (
    "What is the ratio of {c} to {d}{of}?",
    "What is the ratio between {c} and {d}{of}?",
    "What's the ratio of {c} and {d}{of}?",
    "How many times larger is {c} than {d}{of}?",
    "What is the ratio of the value of {c} to that of {d}{of}?",
)
RATIO_SERIES = (
    "What is the ratio of {s} to {r} {at}?",
    "What is the ratio between {s} and {r} {at}?",
    "What's the ratio of {s} and {r} {at}?",
)
RATIO_ENDS = (
    "What is the ratio of the largest to the smallest value{of}?",
    "What's the ratio of the largest {point} and the smallest {point}{of}?",
)
AVERAGE = (
    "What is the average of all the values{of}?",
    "What is the average {m}{of}?",
    "What's the average of all the {point}s{of}?",
    "What is the mean of all {plural}{of}?",
)
AVERAGE_TWO = (
    "What is the average of {c} and {d}{of}?",
    "What is the mean of the values of {c} and {d}{of}?",
    "What's the average {m} of {c} and {d}{of}?",
)
AVERAGE_PART = ("What is the average of the {w} three {plural}{of}?", "What's the average of the {w} three values{of}?")
RANGE = (
    "What is the difference between the highest and the lowest value{of}?",
    "What is the difference between the largest and the smallest {point}{of}?",
    "What is the difference between the maximum and minimum {m}{of}?",
    "What's the range of the values{of}?",
    "What is the difference between the highest {m} and the lowest{of}?",
)
TREND = (
    "Did the {m}{of} increase or decrease from {c} to {d}?",
    "Did the value{of} rise or fall between {c} and {d}?",
    "Did the {m}{of} go up or down between {c} and {d}?",
)
TREND_YES = ("Did the {m}{of} {w} from {c} to {d}?", "Has the {m}{of} {w}d between {c} and {d}?")
ABOVE = (
    "How many {plural} have a value {w} {n}{of}?",
    "How many {plural} had {am} {w} {v}{of}?",
    "How many {point}s are {w} {n}{of}?",
    "How many {point}s have a value {w} {n}{of}?",
    "In how many {plural} is the value {w} {n}{of}?",
)
ABOVE_SENTENCE = ("{x} of the {plural} have a value {w} {n}{of}.", "{x} {plural} are {w} {n}{of}.")
WHICH_ABOVE = ("Which {noun} has a value {w} {n}{of}?", "Which {noun} is {w} {n}{of}?", "Which {point} is {w} {n}{of}?")
LIST = (
    "List all the {plural}.",
    "Which {plural} are shown in the chart?",
    "What are the {plural} in the chart?",
    "Name all the {plural}.",
    "Which {plural} are compared?",
)
LEGEND = (
    "List the legend labels.",
    "What are the labels in the legend?",
    "Which series are shown?",
    "What does the legend show?",
    "Which {x} are compared in the chart?",
)
TITLE = (
    "What is the title of the chart?",
    "What is the heading of the chart?",
    "What's the title of this graph?",
    "What is the chart about?",
    "What is this chart titled?",
)
FIRST = (
    "What is the {w} {noun} shown?",
    "Which is the {w} {noun} in the chart?",
    "What is the {w} {noun} on the axis?",
    "Which {noun} comes {w}?",
)
SPAN = (
    "What is the time span of the chart in years?",
    "How many years lie between the first and the last year shown?",
    "What is the timespan measured in the graph in years?",
)
MEDIAN = ("What is the median of all the values{of}?", "What's the median value{of}?", "What is the median {m}{of}?")
TOP_SERIES = {
    "time": ("Which {x} had the {w} {m} {at}?", "Which {x} has the {w} value {at}?", "What had the {w} value {at}?"),
    "": (
        "Which {x} has the {w} value {at}?",
        "Which {x} had the {w} {m} {at}?",
        "What is the {x} with the {w} value {at}?",
    ),
}
GAP = (
    "In which {noun} is the difference between {s} and {r} the {w}?",
    "Which {noun} has the {w} gap between {s} and {r}?",
    "For which {noun} is the gap between {s} and {r} {w}?",
)
SAME = ("Which two {plural} have the same value{of}?", "Which two {plural} share the same value{of}?")
KIND = ("What type of chart is this?", "What kind of chart is shown?", "Which type of graph is used?")
LIMIT_ALL = (
    "What is the {w} value in the chart?",
    "What is the value of the {w} {point}?",
    "What's the {w} value of all {point}s?",
    "What is the {w} {m} shown?",
)
MISSING = ("Find the missing value: {x}.", "Find missing data{of}: {x}", "Which value is missing{of}: {x}?")
MEAN_OVER_MEDIAN = (
    "Is the average of all the values{of} greater than the median?",
    "Is the mean value{of} higher than the median value?",
)
OVER_MEAN = (
    "Is the value of {c} greater than the average of all the values{of}?",
    "Is {c} above the average{of}?",
    "Is {c} higher than the average of all {point}s{of}?",
)
COLOUR_OF_EXTREME = (
    "What is the color of the {w} {kind}?",
    "Which color {kind} has the {w} value?",
    "Which color represents the {w} value?",
    "What color is the {w} {kind}?",
)
LEGEND_TWO = (
    "Which two {x} are being compared in the chart?",
    "Which two {x} are shown in the legend?",
    "What are the two {x} compared in the graph?",
)
