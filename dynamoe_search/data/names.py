"""The names of the data sets, without the code that loads them."""

DIRECTORY_VARIABLE = "DYNAMOE_DATA"
TOKEN_FILE_ENDING = ".tokens"
EMBEDDED_IMAGES = "digits"
EMBEDDED_TEXT = "topics"
IMAGE_SETS = (EMBEDDED_IMAGES, "mnist", "fashion-mnist", "cifar10")
DATA_SETS = (*IMAGE_SETS, EMBEDDED_TEXT)
