"""What generated charts are about: measures, the names they are counted over, and fixed answer scales."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """name: within a sentence; unit: a key of `figures.UNITS`; topics: of the names that fit (time fits always);
    opener: how a question about it starts, `{who}` for the owner where there is one, "" for none; negative: may fall
    below zero."""

    name: str
    unit: str
    topics: str
    opener: str = ""
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """A list of words: subject is the file in `words/`; noun, plural: what one and many of them are called;
    about: place, owner, thing, group or answer; weight: how often it is drawn; topic: what they are (company)."""

    subject: str
    noun: str
    plural: str
    about: str
    weight: int
    topic: str


NAMES = (
    Names("country", "country", "countries", "place", 60, "place"),
    Names("region", "region", "regions", "place", 10, "place"),
    Names("state", "state", "states", "place", 14, "place"),
    Names("city", "city", "cities", "place", 14, "place"),
    Names("town", "city", "cities", "place", 8, "place"),
    Names("brand", "brand", "brands", "owner", 24, "company"),
    Names("brand", "company", "companies", "owner", 16, "company"),
    Names("company", "company", "companies", "owner", 22, "company"),
    Names("person", "person", "people", "owner", 10, "person"),
    Names("surname", "employee", "employees", "owner", 3, "person"),
    Names("firstname", "name", "names", "owner", 4, "person"),
    Names("person", "player", "players", "owner", 10, "player"),
    Names("surname", "candidate", "candidates", "owner", 5, "candidate"),
    Names("person", "candidate", "candidates", "owner", 4, "candidate"),
    Names("team", "team", "teams", "owner", 10, "team"),
    Names("website", "website", "websites", "owner", 10, "media"),
    Names("platform", "platform", "platforms", "owner", 10, "media"),
    Names("film", "movie", "movies", "owner", 8, "film"),
    Names("product", "product", "products", "thing", 30, "product"),
    Names("sector", "industry", "industries", "thing", 14, "sector"),
    Names("sector", "sector", "sectors", "thing", 8, "sector"),
    Names("energy", "source", "sources", "thing", 10, "energy"),
    Names("sport", "sport", "sports", "thing", 8, "sport"),
    Names("disease", "cause", "causes", "thing", 10, "disease"),
    Names("animal", "animal", "animals", "thing", 8, "animal"),
    Names("transport", "mode of transport", "modes of transport", "thing", 6, "transport"),
    Names("school", "subject", "subjects", "thing", 6, "school"),
    Names("job", "occupation", "occupations", "thing", 8, "job"),
    Names("metricname", "category", "categories", "thing", 6, "category"),
    Names("word", "category", "categories", "thing", 6, "category"),
    Names("", "category", "categories", "thing", 6, "category"),
    Names("reason", "reason", "reasons", "answer", 22, "answer"),
    Names("issue", "issue", "issues", "answer", 10, "answer"),
    Names("reason", "answer", "answers", "answer", 8, "answer"),
    Names("platform", "source", "sources", "answer", 8, "answer"),
    Names("product", "item", "items", "answer", 6, "answer"),
    Names("group", "group", "groups", "group", 22, "group"),
)

MEASURES = (
    Measure(
        "share of respondents",
        "percent",
        "answer group product company media place sport category",
        "What percentage of respondents were counted",
    ),
    Measure(
        "share of respondents",
        "percent",
        "answer group product company media place sport category",
        "What percentage of respondents answered",
    ),
    Measure("percentage of adults", "percent", "answer group place media", "What percentage of adults said so"),
    Measure(
        "share of consumers", "percent", "answer group company product place", "What share of consumers were counted"
    ),
    Measure(
        "share of households",
        "percent",
        "place group product animal energy",
        "What percentage of households were counted",
    ),
    Measure("market share", "percent", "company product place media", "What share of the market did {who} hold"),
    Measure("share of users", "percent", "media group place company", "What percentage of users were counted"),
    Measure("approval rating", "percent", "candidate group place", "What was the approval rating"),
    Measure("internet penetration", "percent", "place group", "What percentage of the population used the internet"),
    Measure("unemployment rate", "rate", "place group sector", "What percentage of the workforce was unemployed"),
    Measure("employment rate", "rate", "place group job", "What percentage of people were employed"),
    Measure("inflation rate", "rate", "place product", "What was the inflation rate", True),
    Measure("GDP growth rate", "rate", "place sector", "By how much did GDP grow", True),
    Measure("growth in sales", "rate", "company product sector", "By how much did sales grow", True),
    Measure("change in price", "rate", "product place energy", "By how much did prices change", True),
    Measure("tax rate", "rate", "place product", "What was the tax rate"),
    Measure("literacy rate", "rate", "place group", "What percentage of people could read"),
    Measure("turnout", "percent", "place group", "What percentage of voters took part"),
    Measure("poverty rate", "rate", "place group", "What percentage of people lived in poverty"),
    Measure("profit margin", "rate", "company sector", "What was the profit margin of {who}", True),
    Measure(
        "revenue", "usd_million", "company sector product place team category", "How much revenue did {who} generate"
    ),
    Measure(
        "revenue", "usd_billion", "company sector product place team category", "How much revenue did {who} generate"
    ),
    Measure(
        "revenue", "eur_million", "company sector product place team category", "How much revenue did {who} generate"
    ),
    Measure("net sales", "usd_million", "company product category", "How much were the net sales of {who}"),
    Measure("net sales", "eur_billion", "company product category", "How much were the net sales of {who}"),
    Measure("net income", "usd_million", "company sector team", "How much did {who} earn", True),
    Measure("operating profit", "gbp_million", "company team", "How much operating profit did {who} make", True),
    Measure("retail sales", "usd_billion", "product place", "How much were retail sales worth"),
    Measure("market value", "usd_billion", "company sector place team", "How much was the market worth"),
    Measure("brand value", "usd_billion", "company team", "How much was the brand {who} worth"),
    Measure(
        "advertising spending",
        "usd_million",
        "company media sector place",
        "How much money did {who} spend on advertising",
    ),
    Measure(
        "research and development spending",
        "usd_billion",
        "company place sector",
        "How much did {who} spend on research",
    ),
    Measure("gross domestic product", "usd_billion", "place sector", "How large was gross domestic product"),
    Measure("GDP per capita", "usd", "place", "How high was GDP per capita"),
    Measure("national debt", "usd_billion", "place", "How large was the national debt"),
    Measure("trade balance", "usd_billion", "place", "How large was the trade balance", True),
    Measure("exports", "usd_billion", "place product energy", "What was the value of exports"),
    Measure("imports", "usd_million", "place product energy", "What was the value of imports"),
    Measure("foreign direct investment", "usd_million", "place sector", "How much foreign investment was received"),
    Measure("health expenditure", "eur_million", "place disease", "How much was spent on health"),
    Measure("budget", "gbp_million", "place sector category film", "How large was the budget"),
    Measure("average salary", "usd", "job sector company place group player", "How much was the average salary"),
    Measure("median household income", "usd", "place group", "How much did the median household earn"),
    Measure("average price", "usd_small", "product energy transport place", "How much did it cost on average"),
    Measure("average ticket price", "usd_small", "team film transport place", "How much did a ticket cost"),
    Measure("average monthly rent", "usd", "place", "How much was the average rent"),
    Measure("box office revenue", "usd_million", "film", "How much did {who} take at the box office"),
    Measure("population", "million", "place", "How many people lived"),
    Measure("number of inhabitants", "count", "place animal", "How many inhabitants were there"),
    Measure("number of employees", "count", "company sector place job", "How many people did {who} employ"),
    Measure("number of employees", "thousand", "company sector place job", "How many people were employed"),
    Measure("number of stores", "count_small", "company place", "How many stores did {who} have"),
    Measure("number of users", "million", "media place group", "How many users did {who} have"),
    Measure("number of subscribers", "million", "media place", "How many subscribers did {who} have"),
    Measure("number of followers", "million", "media player team company person", "How many followers did {who} have"),
    Measure("number of visitors", "thousand", "place media", "How many visitors were counted"),
    Measure("number of passengers", "million", "transport place", "How many passengers were carried"),
    Measure("number of deaths", "count", "disease place group", "How many deaths were recorded"),
    Measure("number of cases", "count", "disease place group", "How many cases were reported"),
    Measure("number of births", "thousand", "place group animal", "How many children were born"),
    Measure("number of students", "count", "school place group", "How many students were enrolled"),
    Measure("number of vehicles sold", "thousand", "company place", "How many vehicles did {who} sell"),
    Measure("units sold", "million", "company product", "How many units were sold"),
    Measure("number of accidents", "count_small", "transport place sport", "How many accidents happened"),
    Measure("number of crimes", "count", "place group", "How many crimes were recorded"),
    Measure("number of patents", "count_small", "company place sector", "How many patents were filed"),
    Measure("number of medals", "count_small", "place sport", "How many medals were won"),
    Measure("goals scored", "count_small", "player team", "How many goals did {who} score"),
    Measure("votes", "count", "candidate place group", "How many votes did {who} receive"),
    Measure("production", "tonnes", "product energy place", "How much was produced"),
    Measure("production volume", "tonnes_small", "product place", "How many metric tons were produced"),
    Measure("CO2 emissions", "tonnes", "place sector transport energy", "How much CO2 was emitted"),
    Measure("electricity generation", "kwh", "energy place", "How much electricity was generated"),
    Measure("energy consumption", "kwh", "place sector energy", "How much energy was consumed"),
    Measure("alcohol consumption", "litres", "place group", "How many litres were drunk per person"),
    Measure("meat consumption", "kg", "place animal", "How many kilograms were eaten per person"),
    Measure("infant mortality rate", "per_thousand", "place", "How many infants died per 1,000 births"),
    Measure("birth rate", "per_thousand", "place group", "How many births were there per 1,000 people"),
    Measure("homicide rate", "per_100k", "place", "How many homicides were there per 100,000 people"),
    Measure("death rate", "per_100k", "place disease group", "How many people died per 100,000"),
    Measure("life expectancy", "years", "place group animal", "How many years could people expect to live"),
    Measure("median age", "years", "place group media", "How old was the median person"),
    Measure("daily time spent", "minutes", "media group place", "How many minutes were spent per day"),
    Measure("average waiting time", "minutes", "place transport", "How many minutes did people wait"),
    Measure("annual working hours", "hours", "place sector job", "How many hours were worked"),
    Measure("average temperature", "degrees", "place", "How warm was it on average", True),
    Measure("price index", "index", "place product", "How high was the price index"),
    Measure("consumer confidence index", "index", "place group", "How high was consumer confidence"),
    Measure("happiness score", "score", "place group", "How happy were people"),
    Measure("satisfaction score", "score", "company media job", "How high was satisfaction"),
    Measure("fertility rate", "ratio", "place group", "How many children did a woman have"),
    Measure("exchange rate", "ratio", "place", "How high was the exchange rate"),
    Measure("length of network", "km", "place transport", "How long was the network"),
)

SCALES = (
    ("Yes", "No"),
    ("Yes", "No", "Don't know"),
    ("Yes", "No", "Not sure"),
    ("Favorable", "Unfavorable"),
    ("Favorable", "Unfavorable", "Don't know"),
    ("Approve", "Disapprove"),
    ("Good", "Bad"),
    ("Good", "Neutral", "Bad"),
    ("Satisfied", "Dissatisfied"),
    ("Agree", "Disagree"),
    ("Agree", "Neither", "Disagree"),
    ("Better", "Worse", "The same"),
    ("Strongly agree", "Somewhat agree", "Somewhat disagree", "Strongly disagree"),
    ("Strongly agree", "Agree", "Neutral", "Disagree", "Strongly disagree"),
    ("Very satisfied", "Somewhat satisfied", "Not too satisfied", "Not at all satisfied"),
    ("Very important", "Somewhat important", "Not important"),
    ("Very likely", "Somewhat likely", "Unlikely"),
    ("A great deal", "A fair amount", "Not too much", "None at all"),
    ("A lot", "Some", "Not much", "Nothing"),
    ("Increase", "Decrease", "Stay the same"),
    ("Increased", "Decreased", "No change"),
    ("More", "Less", "About the same"),
    ("Too much", "Too little", "About the right amount"),
    ("Too many", "Not enough", "Just the right number"),
    ("Major threat", "Minor threat", "Not a threat"),
    ("Very strong", "Strong", "Not very strong", "No conflicts"),
    ("Daily", "Weekly", "Monthly", "Less often", "Never"),
    ("Always", "Often", "Sometimes", "Rarely", "Never"),
    ("Excellent", "Good", "Only fair", "Poor"),
    ("Very well", "Fairly well", "Not too well", "Not at all well"),
    ("For", "Against", "Undecided"),
    ("Support", "Oppose"),
    ("Trust", "Do not trust"),
    ("Heard a lot", "Heard a little", "Heard nothing"),
    ("Very confident", "Somewhat confident", "Not confident"),
    ("Extremely", "Very", "Somewhat", "Not at all"),
    ("Positive", "Negative"),
    ("Help", "Hurt", "No difference"),
    ("Win", "Draw", "Loss"),
    ("Very secure", "Somewhat secure", "Not very secure", "Not at all secure"),
    ("Right direction", "Wrong track"),
)

PEOPLE = (
    ("Men", "Women"),
    ("Male", "Female"),
    ("Boys", "Girls"),
    ("Urban", "Rural"),
    ("Republican", "Democrat"),
    ("Rep/Lean Rep", "Dem/Lean Dem"),
    ("Children", "Adults"),
    ("White", "Black", "Hispanic"),
    ("Full-time", "Part-time"),
    ("White", "Black", "Hispanic", "Asian"),
    ("Under 30", "30 and older"),
    ("0-14 years", "15-64 years", "65 years and over"),
    ("Ages 18-29", "30-49", "50-64", "65+"),
    ("Republicans", "Democrats", "Independents"),
    ("Conservative", "Moderate", "Liberal"),
    ("High school or less", "Some college", "College graduate"),
    ("Low income", "Middle income", "High income"),
    ("Under 18", "18 to 64", "65 and over"),
)
PARTS = (
    ("Online", "Offline"),
    ("Actual", "Forecast"),
    ("Public", "Private"),
    ("Domestic", "International"),
    ("First half", "Second half"),
    ("Low", "Medium", "High"),
    ("Northeast", "Midwest", "South", "West"),
    ("Urban", "Rural"),
    ("Agriculture", "Industry", "Services"),
    ("New", "Used"),
    ("Target", "Actual"),
    ("Q1", "Q2", "Q3", "Q4"),
    ("Small", "Medium-sized", "Large"),
    ("North", "South"),
    ("Budget", "Actual"),
    ("Lower", "Middle", "Upper"),
)

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
