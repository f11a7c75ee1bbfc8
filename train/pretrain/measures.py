"""What generated charts are about: measures, the names they are counted over, and fixed answer scales."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """name: within a sentence; unit: a key of `figures.UNITS`; about: classes of categories that fit (time fits
    always); opener: how a question about it starts, `{who}` for the owner where there is one, "" for none;
    negative: may fall below zero."""

    name: str
    unit: str
    about: str
    opener: str = ""
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """A list of words: subject is the file in `words/`; noun, plural: what one and many of them are called;
    about: place, owner, thing, group or answer; weight: how often it is drawn."""

    subject: str
    noun: str
    plural: str
    about: str
    weight: int


NAMES = (
    Names("country", "country", "countries", "place", 60),
    Names("region", "region", "regions", "place", 10),
    Names("state", "state", "states", "place", 14),
    Names("city", "city", "cities", "place", 14),
    Names("town", "city", "cities", "place", 8),
    Names("brand", "brand", "brands", "owner", 24),
    Names("brand", "company", "companies", "owner", 16),
    Names("company", "company", "companies", "owner", 22),
    Names("person", "person", "people", "owner", 14),
    Names("person", "player", "players", "owner", 8),
    Names("surname", "candidate", "candidates", "owner", 6),
    Names("firstname", "name", "names", "owner", 4),
    Names("team", "team", "teams", "owner", 8),
    Names("website", "website", "websites", "owner", 6),
    Names("film", "movie", "movies", "owner", 6),
    Names("platform", "platform", "platforms", "owner", 12),
    Names("product", "product", "products", "thing", 26),
    Names("sector", "industry", "industries", "thing", 14),
    Names("sector", "sector", "sectors", "thing", 8),
    Names("energy", "source", "sources", "thing", 8),
    Names("sport", "sport", "sports", "thing", 8),
    Names("disease", "cause", "causes", "thing", 8),
    Names("animal", "animal", "animals", "thing", 5),
    Names("transport", "mode of transport", "modes of transport", "thing", 5),
    Names("school", "subject", "subjects", "thing", 5),
    Names("metricname", "category", "categories", "thing", 8),
    Names("job", "occupation", "occupations", "thing", 6),
    Names("word", "category", "categories", "thing", 6),
    Names("", "category", "categories", "thing", 6),
    Names("reason", "reason", "reasons", "answer", 22),
    Names("reason", "issue", "issues", "answer", 10),
    Names("reason", "answer", "answers", "answer", 8),
    Names("platform", "source", "sources", "answer", 8),
    Names("product", "item", "items", "answer", 6),
    Names("group", "group", "groups", "group", 22),
)

MEASURES = (
    Measure("share of respondents", "percent", "answer group", "What percentage of respondents were counted"),
    Measure("share of respondents", "percent", "answer group", "What percentage of respondents answered"),
    Measure("percentage of adults", "percent", "answer group place", "What percentage of adults said so"),
    Measure("share of consumers", "percent", "answer group owner", "What share of consumers were counted"),
    Measure("share of households", "percent", "place group thing", "What percentage of households were counted"),
    Measure("market share", "percent", "owner thing place", "What share of the market did {who} hold"),
    Measure("share of users", "percent", "owner group place", "What percentage of users were counted"),
    Measure("approval rating", "percent", "owner group place", "What was the approval rating"),
    Measure("internet penetration", "percent", "place group", "What percentage of the population used the internet"),
    Measure("unemployment rate", "rate", "place group", "What percentage of the workforce was unemployed"),
    Measure("employment rate", "rate", "place group", "What percentage of people were employed"),
    Measure("inflation rate", "rate", "place", "What was the inflation rate", True),
    Measure("GDP growth rate", "rate", "place", "By how much did GDP grow", True),
    Measure("growth in sales", "rate", "owner thing", "By how much did sales grow", True),
    Measure("change in price", "rate", "thing place", "By how much did prices change", True),
    Measure("tax rate", "rate", "place thing", "What was the tax rate"),
    Measure("literacy rate", "rate", "place group", "What percentage of people could read"),
    Measure("turnout", "percent", "place group", "What percentage of voters took part"),
    Measure("poverty rate", "rate", "place group", "What percentage of people lived in poverty"),
    Measure("profit margin", "rate", "owner thing", "What was the profit margin of {who}", True),
    Measure("revenue", "usd_million", "owner thing place", "How much revenue did {who} generate"),
    Measure("revenue", "usd_billion", "owner thing place", "How much revenue did {who} generate"),
    Measure("revenue", "eur_million", "owner thing", "How much revenue did {who} generate"),
    Measure("net sales", "usd_million", "owner thing", "How much were the net sales of {who}"),
    Measure("net sales", "eur_billion", "owner thing", "How much were the net sales of {who}"),
    Measure("net income", "usd_million", "owner", "How much did {who} earn", True),
    Measure("operating profit", "gbp_million", "owner", "How much operating profit did {who} make", True),
    Measure("retail sales", "usd_billion", "thing place", "How much were retail sales worth"),
    Measure("market value", "usd_billion", "owner thing place", "How much was the market worth"),
    Measure("brand value", "usd_billion", "owner", "How much was the brand {who} worth"),
    Measure("advertising spending", "usd_million", "owner thing place", "How much money did {who} spend on advertising"),
    Measure("research and development spending", "usd_billion", "owner place", "How much did {who} spend on research"),
    Measure("gross domestic product", "usd_billion", "place", "How large was gross domestic product"),
    Measure("GDP per capita", "usd", "place", "How high was GDP per capita"),
    Measure("national debt", "usd_billion", "place", "How large was the national debt"),
    Measure("trade balance", "usd_billion", "place", "How large was the trade balance", True),
    Measure("exports", "usd_billion", "place thing", "What was the value of exports"),
    Measure("imports", "usd_million", "place thing", "What was the value of imports"),
    Measure("foreign direct investment", "usd_million", "place thing", "How much foreign investment was received"),
    Measure("health expenditure", "eur_million", "place thing", "How much was spent on health"),
    Measure("budget", "gbp_million", "thing place", "How large was the budget"),
    Measure("average salary", "usd", "thing owner place group", "How much was the average salary"),
    Measure("median household income", "usd", "place group", "How much did the median household earn"),
    Measure("average price", "usd_small", "thing owner place", "How much did it cost on average"),
    Measure("average ticket price", "usd_small", "owner", "How much did a ticket cost"),
    Measure("average monthly rent", "usd", "place", "How much was the average rent"),
    Measure("box office revenue", "usd_million", "owner", "How much did {who} take at the box office"),
    Measure("population", "million", "place group", "How many people lived"),
    Measure("number of inhabitants", "count", "place group", "How many inhabitants were there"),
    Measure("number of employees", "count", "owner thing place", "How many people did {who} employ"),
    Measure("number of employees", "thousand", "thing place", "How many people were employed"),
    Measure("number of stores", "count_small", "owner place", "How many stores did {who} have"),
    Measure("number of users", "million", "owner place group", "How many users did {who} have"),
    Measure("number of subscribers", "million", "owner place", "How many subscribers did {who} have"),
    Measure("number of followers", "million", "owner", "How many followers did {who} have"),
    Measure("number of visitors", "thousand", "owner place", "How many visitors were counted"),
    Measure("number of passengers", "million", "owner thing place", "How many passengers were carried"),
    Measure("number of deaths", "count", "thing place group", "How many deaths were recorded"),
    Measure("number of cases", "count", "thing place group", "How many cases were reported"),
    Measure("number of births", "thousand", "place group", "How many children were born"),
    Measure("number of students", "count", "thing place group", "How many students were enrolled"),
    Measure("number of vehicles sold", "thousand", "owner place", "How many vehicles did {who} sell"),
    Measure("units sold", "million", "owner thing", "How many units were sold"),
    Measure("number of accidents", "count_small", "place thing group", "How many accidents happened"),
    Measure("number of crimes", "count", "place group", "How many crimes were recorded"),
    Measure("number of patents", "count_small", "owner place thing", "How many patents were filed"),
    Measure("number of medals", "count_small", "place owner", "How many medals were won"),
    Measure("goals scored", "count_small", "owner", "How many goals did {who} score"),
    Measure("votes", "count", "owner place group", "How many votes did {who} receive"),
    Measure("production", "tonnes", "thing place", "How much was produced"),
    Measure("production volume", "tonnes_small", "thing place", "How many metric tons were produced"),
    Measure("CO2 emissions", "tonnes", "place thing owner", "How much CO2 was emitted"),
    Measure("electricity generation", "kwh", "place thing", "How much electricity was generated"),
    Measure("energy consumption", "kwh", "place thing", "How much energy was consumed"),
    Measure("alcohol consumption", "litres", "place group thing", "How many litres were drunk per person"),
    Measure("meat consumption", "kg", "place thing", "How many kilograms were eaten per person"),
    Measure("infant mortality rate", "per_thousand", "place", "How many infants died per 1,000 births"),
    Measure("birth rate", "per_thousand", "place group", "How many births were there per 1,000 people"),
    Measure("homicide rate", "per_100k", "place", "How many homicides were there per 100,000 people"),
    Measure("death rate", "per_100k", "place thing group", "How many people died per 100,000"),
    Measure("life expectancy", "years", "place group", "How many years could people expect to live"),
    Measure("median age", "years", "place group owner", "How old was the median person"),
    Measure("daily time spent", "minutes", "owner thing group", "How many minutes were spent per day"),
    Measure("average waiting time", "minutes", "place thing", "How many minutes did people wait"),
    Measure("annual working hours", "hours", "place thing group", "How many hours were worked"),
    Measure("average temperature", "degrees", "place", "How warm was it on average", True),
    Measure("price index", "index", "place thing", "How high was the price index"),
    Measure("consumer confidence index", "index", "place group", "How high was consumer confidence"),
    Measure("happiness score", "score", "place group", "How happy were people"),
    Measure("satisfaction score", "score", "owner thing group", "How high was satisfaction"),
    Measure("fertility rate", "ratio", "place group", "How many children did a woman have"),
    Measure("exchange rate", "ratio", "place", "How high was the exchange rate"),
    Measure("length of network", "km", "place thing", "How long was the network"),
)  # fmt: skip

SCALES = (
    ("Yes", "No"), ("Yes", "No", "Don't know"), ("Yes", "No", "Not sure"), ("Favorable", "Unfavorable"),
    ("Favorable", "Unfavorable", "Don't know"), ("Approve", "Disapprove"), ("Good", "Bad"), ("Good", "Neutral", "Bad"),
    ("Satisfied", "Dissatisfied"), ("Agree", "Disagree"), ("Agree", "Neither", "Disagree"), ("Better", "Worse", "The same"),
    ("Strongly agree", "Somewhat agree", "Somewhat disagree", "Strongly disagree"),
    ("Strongly agree", "Agree", "Neutral", "Disagree", "Strongly disagree"),
    ("Very satisfied", "Somewhat satisfied", "Not too satisfied", "Not at all satisfied"),
    ("Very important", "Somewhat important", "Not important"), ("Very likely", "Somewhat likely", "Unlikely"),
    ("A great deal", "A fair amount", "Not too much", "None at all"), ("A lot", "Some", "Not much", "Nothing"),
    ("Increase", "Decrease", "Stay the same"), ("Increased", "Decreased", "No change"), ("More", "Less", "About the same"),
    ("Too much", "Too little", "About the right amount"), ("Too many", "Not enough", "Just the right number"),
    ("Major threat", "Minor threat", "Not a threat"), ("Very strong", "Strong", "Not very strong", "No conflicts"),
    ("Daily", "Weekly", "Monthly", "Less often", "Never"), ("Always", "Often", "Sometimes", "Rarely", "Never"),
    ("Excellent", "Good", "Only fair", "Poor"), ("Very well", "Fairly well", "Not too well", "Not at all well"),
    ("For", "Against", "Undecided"), ("Support", "Oppose"), ("Trust", "Do not trust"), ("Heard a lot", "Heard a little", "Heard nothing"),
    ("Very confident", "Somewhat confident", "Not confident"), ("Extremely", "Very", "Somewhat", "Not at all"),
    ("Positive", "Negative"), ("Help", "Hurt", "No difference"), ("Win", "Draw", "Loss"),
    ("Very secure", "Somewhat secure", "Not very secure", "Not at all secure"), ("Right direction", "Wrong track"),
)  # fmt: skip

PAIRS = (
    ("Men", "Women"), ("Male", "Female"), ("Boys", "Girls"), ("Urban", "Rural"), ("Republican", "Democrat"),
    ("Rep/Lean Rep", "Dem/Lean Dem"), ("Exports", "Imports"), ("Online", "Offline"), ("Children", "Adults"),
    ("White", "Black", "Hispanic"), ("White", "Black", "Hispanic", "Asian"), ("Under 30", "30 and older"),
    ("Actual", "Forecast"), ("Public", "Private"), ("Domestic", "International"), ("Births", "Deaths"),
    ("Agriculture", "Industry", "Services"), ("0-14 years", "15-64 years", "65 years and over"),
    ("Low", "Medium", "High"), ("First half", "Second half"), ("Northeast", "Midwest", "South", "West"),
    ("Ages 18-29", "30-49", "50-64", "65+"), ("Republicans", "Democrats", "Independents"), ("Full-time", "Part-time"),
    ("Conservative", "Moderate", "Liberal"), ("High school or less", "Some college", "College graduate"),
)  # fmt: skip

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
