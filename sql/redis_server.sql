-- Servers and user mappings of cachegrid_redis: which options are taken.
CREATE SERVER good FOREIGN DATA WRAPPER cachegrid_redis
    OPTIONS (mode 'cluster', endpoints '127.0.0.1:7000, [::1]:7001 ,redis-1.example,10.0.0.1');
CREATE SERVER one FOREIGN DATA WRAPPER cachegrid_redis
    OPTIONS (mode 'single', endpoints 'localhost');

-- Endpoints
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis;
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a,,b');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a,b,');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a b');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints ':6379');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a:');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a:0');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a:65536');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a:1234567');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a:-1');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '::1');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '[::1');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '[::1]7000');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'redis://a:1');
ALTER SERVER good OPTIONS (DROP endpoints);

-- The other options
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', mode 'sentinel');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a,b', mode 'single');
ALTER SERVER one OPTIONS (SET endpoints 'a,b');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', tls 'maybe');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', read_from 'slave');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', read_from '');
ALTER SERVER one OPTIONS (ADD read_from 'replica');
ALTER SERVER one OPTIONS (SET read_from 'Replica');
ALTER SERVER one OPTIONS (SET read_from 'master');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', password 'secret');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'a', colour 'red');

-- User mappings
CREATE USER MAPPING FOR CURRENT_USER SERVER good OPTIONS (password '');
CREATE USER MAPPING FOR CURRENT_USER SERVER good OPTIONS (endpoints 'a');
CREATE USER MAPPING FOR CURRENT_USER SERVER good OPTIONS (read_from 'replica');
CREATE USER MAPPING FOR CURRENT_USER SERVER good OPTIONS (tls_key '');
CREATE USER MAPPING FOR CURRENT_USER SERVER good OPTIONS (tls_key '/a/key');
CREATE USER MAPPING FOR CURRENT_USER SERVER good OPTIONS (username 'app', password 'secret');

DROP USER MAPPING FOR CURRENT_USER SERVER good;
DROP SERVER good, one;
