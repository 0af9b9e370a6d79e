#include "kvasir/measure/tasks/words.h"

#include <iterator>

namespace kvasir {
namespace {

constexpr std::string_view kKeyAdjectives[] = {
    "amber",  "azure",   "beige",   "black",   "blue",     "bronze",  "brown",   "coral",
    "cream",  "crimson", "cyan",    "golden",  "gray",     "green",   "indigo",  "ivory",
    "jade",   "khaki",   "lilac",   "lime",    "magenta",  "maroon",  "mauve",   "mint",
    "navy",   "olive",   "orange",  "peach",   "pearl",    "pink",    "plum",    "purple",
    "red",    "ruby",    "rust",    "sable",   "salmon",   "scarlet", "silver",  "tan",
    "teal",   "violet",  "white",   "yellow",  "ancient",  "arctic",  "brave",   "bright",
    "broken", "chilly",  "clever",  "cloudy",  "copper",   "cotton",  "crooked", "curly",
    "dark",   "distant", "dusty",   "eager",   "electric", "empty",   "faint",   "fancy",
    "fierce", "flat",    "foggy",   "fragile", "frozen",   "giant",   "glass",   "glossy",
    "heavy",  "hidden",  "hollow",  "honest",  "iron",     "jolly",   "little",  "lively",
    "lonely", "loud",    "lucky",   "lunar",   "magic",    "marble",  "massive", "mellow",
    "mighty", "modern",  "muddy",   "narrow",  "nimble",   "odd",     "pale",    "paper",
    "plain",  "polite",  "proud",   "rapid",   "rare",     "rusty",   "round",   "royal",
    "sacred", "salty",   "secret",  "shiny",   "silent",   "simple",  "slim",    "smooth",
    "solar",  "solid",   "spotted", "square",  "stormy",   "striped", "sturdy",  "sunny",
    "tidy",   "tiny",    "twisted", "urban",   "velvet",   "wild",    "wooden",  "young"};
constexpr std::string_view kKeyNouns[] = {
    "lantern", "boat",       "castle",   "hammer",  "violin",  "compass",  "ladder",   "bottle",
    "mirror",  "bridge",     "candle",   "basket",  "carpet",  "drum",     "engine",   "feather",
    "garden",  "helmet",     "island",   "jacket",  "kettle",  "lemon",    "magnet",   "needle",
    "orchid",  "pencil",     "quilt",    "rocket",  "saddle",  "tunnel",   "umbrella", "valley",
    "wagon",   "zipper",     "anchor",   "balloon", "camera",  "dagger",   "easel",    "falcon",
    "goblet",  "harbor",     "insect",   "jewel",   "kite",    "lizard",   "medal",    "napkin",
    "otter",   "parrot",     "quiver",   "ribbon",  "statue",  "teapot",   "urn",      "vase",
    "whistle", "yacht",      "acorn",    "beetle",  "cactus",  "dolphin",  "emerald",  "fiddle",
    "glacier", "hinge",      "igloo",    "jungle",  "kernel",  "locket",   "mitten",   "nugget",
    "onion",   "pillow",     "quarry",   "raven",   "sponge",  "turtle",   "uniform",  "vault",
    "walnut",  "apron",      "badger",   "cannon",  "donkey",  "elbow",    "flute",    "glove",
    "hornet",  "jigsaw",     "knight",   "lobster", "muffin",  "oyster",   "paddle",   "racket",
    "shovel",  "temple",     "tractor",  "vessel",  "willow",  "arrow",    "banana",   "cradle",
    "domino",  "elm",        "ferry",    "guitar",  "hatchet", "jar",      "ledger",   "monkey",
    "nest",    "oven",       "puzzle",   "rabbit",  "sandal",  "tiger",    "trumpet",  "wheel",
    "axle",    "barrel",     "cello",    "desk",    "eagle",   "fossil",   "geyser",   "hedge",
    "ingot",   "juggler",    "keg",      "lute",    "mask",    "notebook", "owl",      "piano",
    "radish",  "spider",     "throne",   "vine",    "wolf",    "abbey",    "bucket",   "clock",
    "dragon",  "envelope",   "fountain", "goat",    "hammock", "idol",     "javelin",  "lamp",
    "nickel",  "orbit",      "panther",  "rope",    "scarf",   "tower",    "valve",    "wallet",
    "album",   "button",     "coin",     "drill",   "fox",     "gate",     "honey",    "iris",
    "kimono",  "lighthouse", "mango",    "net",     "oar",     "pyramid",  "rug",      "sled",
    "tent",    "viola",      "whale",    "atlas",   "bell",    "crown",    "dice",     "fern",
    "globe",   "hook",       "knot",     "lever",   "moth",    "nail",     "opal",     "pebble",
    "reef",    "shield",     "trophy",   "unicorn", "vest",    "wand",     "ankle",    "bison",
    "chisel",  "daisy",      "fan",      "gong",    "harp",    "jug",      "koala",    "leaf",
    "mole",    "nectar",     "obelisk",  "pipe",    "raft",    "skull",    "torch",    "vulture",
    "wreath",  "badge",      "cobra",    "crate",   "cube",    "cymbal",   "dome",     "fork",
    "funnel",  "gem",        "hat",      "jeep",    "ketchup", "lasso",    "ox",       "pear",
    "pump",    "quartz",     "rake",     "rod",     "saw",     "seal",     "ship",     "snail",
    "spoon",   "stamp",      "sword",    "tablet",  "thimble", "tile",     "toad",     "tomb",
    "tray",    "tulip",      "tusk",     "vial",    "wasp",    "wick",     "yoke",     "zebra"};
constexpr std::string_view kFirstNames[] = {
    "Ada",   "Alden", "Anika", "Arlo",  "Bela",  "Bram",  "Carla", "Cyrus",  "Dalia", "Dario",
    "Edda",  "Elio",  "Emeka", "Esme",  "Farid", "Fiona", "Gala",  "Goran",  "Hanna", "Hugo",
    "Ilse",  "Imran", "Ines",  "Ivo",   "Jana",  "Joel",  "Kaia",  "Kenji",  "Lara",  "Leif",
    "Lena",  "Luca",  "Mara",  "Milo",  "Mona",  "Nadia", "Nils",  "Nora",   "Olga",  "Omar",
    "Otto",  "Petra", "Priya", "Quinn", "Rafi",  "Rhea",  "Rolf",  "Rosa",   "Sami",  "Selma",
    "Silas", "Tara",  "Theo",  "Tilda", "Ugo",   "Uma",   "Vera",  "Viktor", "Wanda", "Willem",
    "Yara",  "Yusuf", "Zelda", "Zoran"};
constexpr std::string_view kLastNames[] = {
    "Abbot",  "Adler",   "Amsel",   "Barlow", "Becker", "Brandt", "Calder", "Corbin",
    "Crane",  "Dalton",  "Draper",  "Durand", "Eldon",  "Ennis",  "Farrow", "Fenton",
    "Fisk",   "Garner",  "Gilroy",  "Grell",  "Hadley", "Harlan", "Holt",   "Ibsen",
    "Irwin",  "Jarrow",  "Jensen",  "Kagan",  "Keller", "Kirby",  "Lanner", "Lindqvist",
    "Lowell", "Mallory", "Marsh",   "Mercer", "Nolan",  "Norby",  "Oakes",  "Orban",
    "Osman",  "Palmer",  "Penrose", "Pryor",  "Quill",  "Radley", "Renner", "Rowan",
    "Sayer",  "Selby",   "Sorrel",  "Tanner", "Thorne", "Tully",  "Udell",  "Ulmer",
    "Varga",  "Vickers", "Voss",    "Walden", "Wexler", "Yates",  "Yarrow", "Zander"};
constexpr std::string_view kTowns[] = {
    "Brenford", "Brenmere", "Brenton", "Brenwick", "Brendale", "Brengate", "Calford", "Calmere",
    "Calton",   "Calwick",  "Caldale", "Calgate",  "Dorford",  "Dormere",  "Dorton",  "Dorwick",
    "Dordale",  "Dorgate",  "Elmford", "Elmmere",  "Elmton",   "Elmwick",  "Elmdale", "Elmgate",
    "Farford",  "Farmere",  "Farton",  "Farwick",  "Fardale",  "Fargate",  "Garford", "Garmere",
    "Garton",   "Garwick",  "Gardale", "Gargate",  "Holford",  "Holmere",  "Holton",  "Holwick",
    "Holdale",  "Holgate",  "Kelford", "Kelmere",  "Kelton",   "Kelwick",  "Keldale", "Kelgate",
    "Lanford",  "Lanmere",  "Lanton",  "Lanwick",  "Landale",  "Langate",  "Morford", "Mormere",
    "Morton",   "Morwick",  "Mordale", "Morgate",  "Norford",  "Normere",  "Norton",  "Norwick",
    "Nordale",  "Norgate",  "Penford", "Penmere",  "Penton",   "Penwick",  "Pendale", "Pengate",
    "Ravford",  "Ravmere",  "Ravton",  "Ravwick",  "Ravdale",  "Ravgate",  "Selford", "Selmere",
    "Selton",   "Selwick",  "Seldale", "Selgate",  "Torford",  "Tormere",  "Torton",  "Torwick",
    "Tordale",  "Torgate",  "Wesford", "Wesmere",  "Weston",   "Weswick",  "Wesdale", "Wesgate"};
constexpr std::string_view kJobs[] = {
    "actor",     "architect", "baker",   "banker",  "barber",   "brewer",    "builder", "butcher",
    "carpenter", "chemist",   "clerk",   "cobbler", "dancer",   "dentist",   "doctor",  "driver",
    "editor",    "farrier",   "fisher",  "florist", "gardener", "glazier",   "grocer",  "guide",
    "hunter",    "janitor",   "jeweler", "judge",   "lawyer",   "librarian", "mason",   "miner",
    "nurse",     "painter",   "pilot",   "plumber", "poet",     "porter",    "potter",  "printer",
    "sailor",    "sculptor",  "singer",  "smith",   "surgeon",  "tailor",    "teacher", "weaver"};
constexpr std::string_view kAnimals[] = {
    "alpaca",  "ant",     "antelope", "bat",      "bear",     "beaver", "bee",    "boar",
    "buffalo", "camel",   "cat",      "cheetah",  "chicken",  "cow",    "coyote", "crab",
    "crow",    "deer",    "dog",      "duck",     "elephant", "ferret", "frog",   "giraffe",
    "goose",   "gorilla", "hamster",  "hedgehog", "heron",    "hippo",  "horse",  "hyena",
    "jackal",  "jaguar",  "kangaroo", "lemur",    "leopard",  "lion",   "llama",  "lynx",
    "mouse",   "octopus", "ostrich",  "penguin",  "pig",      "pigeon", "rat",    "shark"};
constexpr std::string_view kFoods[] = {
    "almond",  "apple",  "apricot",  "avocado",   "bacon",   "bagel",   "bean",     "beet",
    "biscuit", "bread",  "broccoli", "butter",    "cabbage", "cake",    "carrot",   "celery",
    "cheese",  "cherry", "chili",    "chocolate", "corn",    "cracker", "cucumber", "date",
    "egg",     "fig",    "garlic",   "ginger",    "grape",   "ham",     "jam",      "lentil",
    "lettuce", "melon",  "milk",     "mustard",   "noodle",  "oat",     "pancake",  "pasta",
    "peanut",  "pepper", "pie",      "pizza",     "potato",  "pumpkin", "raisin",   "rice"};
constexpr std::string_view kTools[] = {
    "anvil",   "awl",    "auger",  "bellows",  "broom",      "brush",       "chainsaw", "clamp",
    "crowbar", "cutter", "file",   "gauge",    "grater",     "grinder",     "jack",     "knife",
    "ladle",   "level",  "mallet", "mop",      "nutcracker", "peeler",      "pestle",   "pick",
    "planer",  "plane",  "plow",   "pliers",   "plunger",    "press",       "pulley",   "razor",
    "ruler",   "sander", "scale",  "scissors", "scraper",    "screwdriver", "scythe",   "shears",
    "sickle",  "sieve",  "spade",  "spanner",  "spatula",    "stapler",     "trowel",   "tweezers"};
constexpr std::string_view kVerbs[] = {
    "add",   "apply", "bind", "build", "call", "check", "clean",  "clear", "close", "copy",
    "count", "draw",  "drop", "fetch", "fill", "find",  "fold",   "free",  "grow",  "hide",
    "join",  "keep",  "link", "load",  "lock", "make",  "mark",   "merge", "move",  "open",
    "pack",  "parse", "push", "read",  "send", "set",   "show",   "sort",  "split", "start",
    "stop",  "store", "swap", "test",  "trim", "turn",  "update", "wait"};

static_assert(std::size(kKeyAdjectives) == 128 && std::size(kKeyNouns) == 256);

}  // namespace

WordList KeyAdjectives() { return kKeyAdjectives; }
WordList KeyNouns() { return kKeyNouns; }
WordList FirstNames() { return kFirstNames; }
WordList LastNames() { return kLastNames; }
WordList Towns() { return kTowns; }
WordList Jobs() { return kJobs; }
WordList Animals() { return kAnimals; }
WordList Foods() { return kFoods; }
WordList Tools() { return kTools; }
WordList Verbs() { return kVerbs; }

}  // namespace kvasir
