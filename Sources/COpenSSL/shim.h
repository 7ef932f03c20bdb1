#pragma once
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <openssl/x509_vfy.h>

// Macros and variadic functions that Swift cannot see.

static inline int bsfg_general_names_count(const GENERAL_NAMES *names) {
    return sk_GENERAL_NAME_num(names);
}

static inline const GENERAL_NAME *bsfg_general_name(const GENERAL_NAMES *names, int index) {
    return sk_GENERAL_NAME_value(names, index);
}

static inline EVP_PKEY *bsfg_generate_p256(void) { return EVP_EC_gen("P-256"); }

static inline EVP_PKEY *bsfg_generate_rsa(unsigned int bits) { return EVP_RSA_gen(bits); }

static inline int bsfg_chain_count(const STACK_OF(X509) *chain) { return sk_X509_num(chain); }

static inline X509 *bsfg_chain_certificate(const STACK_OF(X509) *chain, int index) {
    return sk_X509_value(chain, index);
}

static inline long bsfg_memory_bytes(BIO *bio, const char **bytes) {
    return BIO_get_mem_data(bio, (char **)bytes);
}

// RFC 2253 with readable spacing; control characters are escaped, UTF-8 is kept.
static inline int bsfg_print_name(BIO *bio, const X509_NAME *name) {
    return X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
}

// Appends a DNS name (GEN_DNS) or an address (GEN_IPADD); the bytes are copied.
static inline int bsfg_add_name(
    GENERAL_NAMES *names, int type, const unsigned char *bytes, int count) {
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value =
        type == GEN_DNS ? (ASN1_STRING *)ASN1_IA5STRING_new() : (ASN1_STRING *)ASN1_OCTET_STRING_new();
    if (name == NULL || value == NULL || ASN1_STRING_set(value, bytes, count) != 1) goto failed;
    GENERAL_NAME_set0_value(name, type, value);
    value = NULL;
    if (sk_GENERAL_NAME_push(names, name) > 0) return 1;
failed:
    ASN1_STRING_free(value);
    GENERAL_NAME_free(name);
    return 0;
}

static inline int bsfg_revoked_count(const X509_CRL *list) {
    const STACK_OF(X509_REVOKED) *revoked = X509_CRL_get_REVOKED((X509_CRL *)list);
    return revoked == NULL ? 0 : sk_X509_REVOKED_num(revoked);
}

static inline X509_REVOKED *bsfg_revoked(const X509_CRL *list, int index) {
    return sk_X509_REVOKED_value(X509_CRL_get_REVOKED((X509_CRL *)list), index);
}

static inline void bsfg_free_extensions(STACK_OF(X509_EXTENSION) *extensions) {
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}
