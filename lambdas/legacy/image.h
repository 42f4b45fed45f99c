/*
 * The image that job 1 turns to grey, in RGBA: from the build a pattern, red its column, green its row, blue both together by
 * exclusive or. Another one can be loaded over it.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <lnic.h>

#define IMAGE_SIDE 256
#define IMAGE_PIXELS (IMAGE_SIDE * IMAGE_SIDE)
#define IMAGE_BYTES (4 * IMAGE_PIXELS)
/* It is read and written two pixels at a time. */
#define IMAGE_WORDS (IMAGE_PIXELS / 2)

#define PIXEL(row, column) (0xff000000u | ((row) ^ (column)) << 16 | (row) << 8 | (column))
#define WORD(row, column) ((uint64_t)PIXEL(row, (column) + 1u) << 32 | PIXEL(row, column))
#define WORDS_4(row, column) WORD(row, column), WORD(row, column + 2u), WORD(row, column + 4u), WORD(row, column + 6u)
#define WORDS_16(row, column) \
    WORDS_4(row, column), WORDS_4(row, column + 8u), WORDS_4(row, column + 16u), WORDS_4(row, column + 24u)
#define ROW(row) WORDS_16(row, 0u), WORDS_16(row, 32u), WORDS_16(row, 64u), WORDS_16(row, 96u), \
    WORDS_16(row, 128u), WORDS_16(row, 160u), WORDS_16(row, 192u), WORDS_16(row, 224u)
#define ROWS_4(row) ROW(row), ROW(row + 1u), ROW(row + 2u), ROW(row + 3u)
#define ROWS_16(row) ROWS_4(row), ROWS_4(row + 4u), ROWS_4(row + 8u), ROWS_4(row + 12u)
#define ROWS_64(row) ROWS_16(row), ROWS_16(row + 16u), ROWS_16(row + 32u), ROWS_16(row + 48u)

/* One for all NPUs, and by atomics only: jobs that run while another image is loaded see some of both, and nobody waits. */
static uint64_t image[IMAGE_WORDS] EMEM = {ROWS_64(0u), ROWS_64(64u), ROWS_64(128u), ROWS_64(192u)};

_Static_assert(sizeof(image) == IMAGE_BYTES, "an image has four bytes a pixel");

/* Loads another image. */
static inline void image_load(const uint8_t *rgba) {
    for (uint32_t at = 0; at < IMAGE_WORDS; at++) {
        uint64_t word;
        memcpy(&word, rgba + 8 * at, sizeof(word));
        __atomic_store_n(&image[at], word, __ATOMIC_RELAXED);
    }
}

/*
 * Grey of the two pixels at this word, in the two lowest bytes: R/3 + G/3 + B/3, each rounded down, as the prototype has it; at most
 * 255. A third of each byte at once, in lanes of 16 bits: 171/512 is exact up to 255.
 */
static inline uint32_t image_grey_2(uint32_t at) {
    const uint64_t bytes = 0x00ff00ff00ff00ff, thirds = 0x007f007f007f007f;
    uint64_t word = __atomic_load_n(&image[at], __ATOMIC_RELAXED);
    uint64_t red_blue = ((word & bytes) * 171 >> 9) & thirds;
    uint64_t green = ((word >> 8 & bytes) * 171 >> 9) & thirds;
    uint64_t sum = red_blue + (red_blue >> 16) + green;
    return (uint32_t)((sum & 0xff) | (sum >> 24 & 0xff00));
}

/* Writes the grey image, a byte a pixel. */
static inline void image_grey(uint8_t *grey) {
    for (uint32_t at = 0; at < IMAGE_WORDS; at++) {
        uint16_t pair = (uint16_t)image_grey_2(at);
        memcpy(grey + 2 * at, &pair, sizeof(pair));
    }
}

/* Adler-32 of the grey image (RFC 1950). */
static inline uint32_t image_grey_checksum(void) {
    const uint32_t modulus = 65521;
    uint32_t sum = 1, sums = 0;
    for (uint32_t row = 0; row < IMAGE_SIDE; row++) {
        /* A row's sums fit 32 bits. */
        for (uint32_t word = 0; word < IMAGE_SIDE / 2; word++) {
            uint32_t pair = image_grey_2(row * (IMAGE_SIDE / 2) + word);
            sum += pair & 0xff;
            sums += sum;
            sum += pair >> 8;
            sums += sum;
        }
        sum %= modulus;
        sums %= modulus;
    }
    return sums << 16 | sum;
}

#endif
