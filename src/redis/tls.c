/*-------------------------------------------------------------------------
 *
 * tls.c
 *	  Encrypts a connection, and verifies who is at its other end.
 *
 * hiredis carries the bytes, from version 1 on; the session is made here with
 * OpenSSL itself, since hiredis verifies no names and has no handshake that one
 * could wait for.  A node must have a certificate of an authority that we trust,
 * for the name that we call it by: there is no option to look away.  Files are read
 * anew for each connection, so that renewed ones are taken up.
 *
 * A server's options are for everybody to read, those of a user mapping are not; of
 * neither does a message show more than the name of the option.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/settings.h"
#include "redis/redis_internal.h"

#ifdef CACHEGRID_TLS

#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

bool
cg_redis_has_tls(void)
{
	return true;
}

/* Why OpenSSL failed, its oldest error: those behind it say less.  Valid until the next call. */
static const char *
first_reason(void)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

#ifdef ERR_SYSTEM_ERROR
	if (code != 0 && ERR_SYSTEM_ERROR(code))
		reason = strerror(ERR_GET_REASON(code));
#endif
	return reason ? reason : "the connection was closed";
}

/* Asks nobody: a key whose password is not known cannot be read. */
static int
give_key_password(char *buffer, int size, int writing, void *password)
{
	int length = password ? strlen(password) : 0;

	if (length > size)
		return -1;
	memcpy(buffer, password ? password : "", length);
	return length;
}

/* Sets what the options say; the name of the option that cannot be used, or NULL. */
static const char *
configure(SSL_CTX *context, const RedisTlsOptions *options)
{
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_default_passwd_cb(context, give_key_password);
	SSL_CTX_set_default_passwd_cb_userdata(context, (void *) options->key_password);

	if (options->ca ? SSL_CTX_load_verify_locations(context, options->ca, NULL) != 1
					: SSL_CTX_set_default_verify_paths(context) != 1)
		return "tls_ca";
	if (!options->certificate)
		return NULL;
	if (SSL_CTX_use_certificate_chain_file(context, options->certificate) != 1)
		return "tls_certificate";
	if (SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) != 1)
		return "tls_key";
	return NULL;
}

/* Demands that the certificate is for this host name or address. */
static bool
expect_name(SSL *session, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(session);

	if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
		return true;
	ERR_clear_error();
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
		   SSL_set_tlsext_host_name(session, name) == 1;
}

static void
fail_with_option(RedisNode *node, const char *option)
{
	const char *reason = first_reason();

	cg_redis_fail(node->grid, ERRCODE_CONFIG_FILE_ERROR,
				  "could not use the file of option \"%s\"", option);
	cg_redis_fail_detail(node->grid, "OpenSSL says: %s.", reason);
	cg_redis_fail_hint(node->grid, "It must be a PEM file that the PostgreSQL server may "
								   "read; a key must fit its certificate and password.");
	cg_redis_count_error(node, node->grid->error.message);
}

/* A session for a node that knows whom to expect; NULL and an error. */
static SSL *
make_session(RedisNode *node)
{
	const RedisTlsOptions *options = &node->grid->tls;
	const char *name = options->server_name ? options->server_name : node->host;
	SSL_CTX *context;
	SSL *session = NULL;
	const char *option = NULL;

	ERR_clear_error();
	context = SSL_CTX_new(TLS_client_method());
	if (context)
		option = configure(context, options);
	if (context && !option)
		session = SSL_new(context);
	if (session && !expect_name(session, name))
	{
		SSL_free(session);
		session = NULL;
		option = "tls_server_name";
	}
	SSL_CTX_free(context);
	if (option)
		fail_with_option(node, option);
	else if (!session)
		cg_redis_fail(node->grid, ERRCODE_OUT_OF_MEMORY, "out of memory");
	return session;
}

static void
fail_handshake(RedisNode *node, SSL *session)
{
	const char *reason = first_reason();
	long verified = SSL_get_verify_result(session);
	bool distrusted = verified != X509_V_OK;

	cg_redis_fail(node->grid,
				  distrusted ? ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION
							 : ERRCODE_CONNECTION_FAILURE,
				  distrusted ? "could not verify the certificate of Redis node \"%s\""
							 : "could not encrypt the connection to Redis node \"%s\"",
				  node->name);
	cg_redis_fail_detail(node->grid, "OpenSSL says: %s.",
						 distrusted ? X509_verify_cert_error_string(verified) : reason);
	cg_redis_fail_hint(
		node->grid,
		distrusted ? "Check the options \"tls_ca\" and \"tls_server_name\"."
				   : "Check that the node expects TLS at this port, and whether it "
					 "demands a certificate: see the options \"tls_certificate\" and "
					 "\"tls_key\" of the user mapping.");
	cg_redis_count_error(node, node->grid->error.message);
}

/* Goes through the handshake; false and an error if it does not end well, or in time. */
static bool
shake_hands(RedisNode *node, SSL *session, int64 deadline)
{
	for (;;)
	{
		int result;
		int events;

		ERR_clear_error();
		result = SSL_connect(session);
		if (result == 1)
			return true;
		switch (SSL_get_error(session, result))
		{
			case SSL_ERROR_WANT_READ:
				events = WL_SOCKET_READABLE;
				break;
			case SSL_ERROR_WANT_WRITE:
				events = WL_SOCKET_WRITEABLE;
				break;
			default:
				fail_handshake(node, session);
				return false;
		}
		if (!cg_redis_wait_socket(node->grid, node->connection->fd, events, deadline,
								  cg_redis_connect_event()))
		{
			cg_redis_fail(
				node->grid, ERRCODE_CONNECTION_FAILURE,
				"could not encrypt the connection to Redis node \"%s\": timeout "
				"expired",
				node->name);
			cg_redis_count_error(node, node->grid->error.message);
			return false;
		}
	}
}

/*
 * Encrypts a connection that stands, before anything is sent over it.  False and an
 * error if that fails or takes until the deadline; the caller closes it then.
 */
bool
cg_redis_start_tls(RedisNode *node, int64 deadline)
{
	SSL *session = make_session(node);

	if (!session)
		return false;
	if (redisInitiateSSL(node->connection, session) != REDIS_OK)
	{
		fail_handshake(node, session);
		SSL_free(session);
		return false;
	}
	/* Now it belongs to the connection. */
	return shake_hands(node, session, deadline);
}

/*
 * To be called before bytes are read or written: OpenSSL takes errors that it still
 * remembers, of whomever, for those of the next call.
 */
void
cg_redis_forget_tls_errors(void)
{
	ERR_clear_error();
}

/* Why the connection was lost, if TLS knows, such as the other side's refusal; NULL. */
const char *
cg_redis_tls_reason(void)
{
	return ERR_peek_error() != 0 ? first_reason() : NULL;
}

#else

bool
cg_redis_has_tls(void)
{
	return false;
}

/* Who declared the server had a library that could. */
bool
cg_redis_start_tls(RedisNode *node, int64 deadline)
{
	cg_redis_fail(node->grid, ERRCODE_FEATURE_NOT_SUPPORTED, REDIS_NO_TLS);
	cg_redis_fail_detail(node->grid, REDIS_NO_TLS_DETAIL);
	cg_redis_fail_hint(node->grid, REDIS_NO_TLS_HINT);
	cg_redis_count_error(node, REDIS_NO_TLS);
	return false;
}

void
cg_redis_forget_tls_errors(void)
{
}

const char *
cg_redis_tls_reason(void)
{
	return NULL;
}

#endif
